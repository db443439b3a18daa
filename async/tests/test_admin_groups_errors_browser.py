"""The pages of groups and of errors in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.urls import reverse
from selenium.webdriver.common.keys import Keys

from django_async import schedule
from django_async.models import Error, Group, Job
from suite.browsing import PHONE, WIDE, Browser, superuser, viewer
from suite.jobs import fail, note, nothing
from suite.pages import HOSTILE_NAME
from suite.together import wait_until


@pytest.fixture
def rows(flush: Callable[..., Any]) -> Group:
    """A group with hostile names, half done, with an error."""
    group = Group.objects.create(reference=HOSTILE_NAME, description=HOSTILE_NAME)
    schedule(nothing, group=group)
    schedule(fail, [HOSTILE_NAME], group=group)
    schedule(note, [HOSTILE_NAME], group=group, run_after=timedelta(days=1))
    group.on_completion(schedule(note, ["final", HOSTILE_NAME], group=group))
    flush(keep_going=True)
    return group


def addresses(group: Group) -> tuple[str, ...]:
    """The pages."""
    return (
        reverse("admin:async_group_changelist"),
        reverse("admin:async_group_change", args=[group.pk]),
        reverse("admin:async_error_kinds"),
        reverse("admin:async_error_changelist"),
        reverse("admin:async_error_change", args=[Error.objects.get().pk]),
    )


def arrived(browser: Browser, title: str) -> None:
    """Wait for the page with this title: a key is answered before the next page is there."""
    script = "return document.querySelector('#content h1')?.textContent"
    wait_until(lambda: browser.run(script) == title, title)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_pages_fit_on_every_screen_without_a_complaint(
    browser: Browser, rows: Group, dark: bool
) -> None:
    browser.set_dark(dark=dark)
    browser.log_in(superuser())
    for address in addresses(rows):
        browser.open(address)
        browser.run("document.querySelectorAll('details').forEach((one) => one.open = true)")
        for size in (PHONE, WIDE):
            browser.resize(*size)
            assert (address, browser.overflow) == (address, 0)
        assert "taken" not in browser.driver.title[:5]
        assert "\u202e" not in browser.find("#content").text


def test_progress_has_a_name_and_says_it_in_numbers(browser: Browser, rows: Group) -> None:
    browser.log_in(viewer())
    browser.open(addresses(rows)[0])
    bar = browser.find(".field-progress_bar progress")
    assert bar.accessible_name.startswith("Progress of group <script>")
    assert (bar.get_attribute("value"), bar.get_attribute("max")) == ("1", "4")
    assert browser.find(".field-progress_bar").text == "1 of 4"


def test_a_kind_is_unfolded_and_retried_by_keyboard(browser: Browser, rows: Group) -> None:
    Job.objects.filter(attempts__gt=0, executed=None).update(
        scheduled=rows.created.replace(year=2999)
    )
    browser.log_in(superuser())
    browser.open("/admin/async/")
    browser.find(".async-kinds-link a").send_keys(Keys.ENTER)
    arrived(browser, "Errors by function and kind")
    browser.find(".async-kind summary").send_keys(Keys.ENTER)
    assert "Traceback" in browser.find(".async-kind pre").text
    browser.find(".async-kind button").send_keys(Keys.ENTER)
    arrived(browser, "Retry all of a kind")
    browser.find("#async-kinds button[name=confirm]").send_keys(Keys.ENTER)
    arrived(browser, "Errors by function and kind")
    assert browser.find(".messagelist").text == "1 job was retried."
    assert Job.objects.due().filter(name="suite.jobs.fail").count() == 1


def test_who_may_only_look_is_offered_no_retry(browser: Browser, rows: Group) -> None:
    browser.log_in(viewer())
    browser.open(addresses(rows)[2])
    assert browser.find(".async-kind h2").text == "suite.jobs.fail: builtins.ValueError"
    assert browser.find_all(".async-kind button") == []
