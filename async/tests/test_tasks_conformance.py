"""Django's own tests of its task framework pass with this backend in the place of Django's."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from suite import conformance

LEAST = 70
"""Tests that there are at the least, of all files: a run that finds none has shown nothing."""


@pytest.fixture(scope="module")
def archive() -> Path:
    """Django's sources: continuous integration must get them."""
    try:
        return conformance.sources()
    except subprocess.CalledProcessError as error:
        if os.environ.get("CI") == "true":
            raise AssertionError(error.stderr) from error
        pytest.skip(f"pip has no sources of Django {conformance.TESTS_OF} at hand")


def test_djangos_tests_of_backends_and_tasks_pass(archive: Path, tmp_path: Path) -> None:
    conformance.unpack(archive, tmp_path)
    done = conformance.run(tmp_path)
    assert done.returncode == 0, done.stderr
    ran = re.search(r"^Ran (\d+) tests", done.stderr, re.MULTILINE)
    assert ran, done.stderr
    assert int(ran[1]) >= LEAST
    assert f"expected failures={len(conformance.excluded())}" in done.stderr, done.stderr


def test_what_does_not_apply_is_a_short_list() -> None:
    assert len(conformance.EXCLUDED) == 8
    assert len(conformance.EXCLUDED_BEFORE_DJANGO_6) == 5
    assert len(conformance.EXCLUDED_BEFORE_PYTHON_3_12) == 1
