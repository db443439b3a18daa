"""axe-core, which knows what keeps people from using a page."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from suite.browsing import Browser

needs_axe = pytest.mark.skipif(
    find_spec("axe_selenium_python") is None, reason="axe-selenium-python wants Python 3.12"
)


def amiss(browser: Browser, selector: str) -> dict[str, list[str]]:
    """What it has to say of this part of the page, by its rules' names. With older versions of
    Django the browser complains of what axe itself does; of the page it has nothing to say."""
    import axe_selenium_python

    assert browser.complaints() == []

    source = Path(axe_selenium_python.__file__).parent / "node_modules/axe-core/axe.min.js"
    browser.run(source.read_text(encoding="utf-8"))
    browser.driver.set_script_timeout(30)
    result = browser.driver.execute_async_script(
        "axe.run(arguments[0]).then(arguments[arguments.length - 1])", selector
    )
    browser.complaints()
    return {
        one["id"]: [node["html"][:200] for node in one["nodes"]] for one in result["violations"]
    }
