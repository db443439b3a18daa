"""The list of jobs and the page of one, in a real browser under a strict policy."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.urls import reverse
from selenium.webdriver.common.keys import Keys

from django_async import schedule
from django_async.api import deschedule, schedule_many
from django_async.models import Group, Job
from suite.axe import amiss, needs_axe
from suite.browsing import PHONE, WIDE, Browser, superuser, viewer
from suite.jobs import fail, note, nothing
from suite.pages import HOSTILE_NAME

LIST = "/admin/async/job/"


@pytest.fixture
def rows(flush: Callable[..., Any]) -> dict[str, Job]:
    """A job in each state, with hostile arguments in a group with a hostile name."""
    group = Group.objects.create(reference=HOSTILE_NAME)
    made = {
        "executed": schedule(note, [HOSTILE_NAME], group=group),
        "failing": schedule(fail, [HOSTILE_NAME], group=group, meta={"backoff": 3600}),
        "discarded": schedule(fail, [HOSTILE_NAME], meta={"max_attempts": 1}),
        "scheduled": schedule(note, [HOSTILE_NAME], group=group, run_after=timedelta(hours=1)),
    }
    flush(keep_going=True)
    made["cancelled"] = schedule(nothing, [HOSTILE_NAME])
    deschedule(nothing, [HOSTILE_NAME])
    made["due"] = schedule(note, [HOSTILE_NAME], {}, queue="mail")
    return made


def address(job: Job) -> str:
    return reverse("admin:async_job_change", args=[job.pk])


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_pages_fit_on_every_screen_without_a_complaint(
    browser: Browser, rows: dict[str, Job], dark: bool
) -> None:
    browser.set_dark(dark=dark)
    browser.log_in(superuser())
    for page in (LIST, f"{LIST}?state=due", *map(address, rows.values())):
        browser.open(page)
        browser.run("document.querySelectorAll('details').forEach((one) => one.open = true)")
        for size in (PHONE, WIDE):
            browser.resize(*size)
            assert (page, browser.overflow) == (page, 0)
        assert "taken" not in browser.driver.title[:5]
        assert "\u202e" not in browser.find("#content").text


@needs_axe
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_amiss(browser: Browser, rows: dict[str, Job], dark: bool) -> None:
    browser.set_dark(dark=dark)
    browser.log_in(superuser())
    for size in (PHONE, WIDE):
        browser.resize(*size)
        for job in (rows["failing"], rows["due"]):
            browser.open(address(job))
            assert amiss(browser, "#async-job") == {}
        browser.open(LIST)
        assert amiss(browser, "#result_list tbody") == {}
        for form in browser.find_all(".async-typed"):
            assert form.is_displayed() or size == PHONE
        assert amiss(browser, ".async-typed") == {}


def test_the_list_is_narrowed_and_widened_by_keyboard(
    browser: Browser, rows: dict[str, Job]
) -> None:
    browser.log_in(viewer())
    browser.open(LIST)
    browser.press(browser.find("#changelist-filter a[href='?state=due']"), Keys.ENTER)
    assert [row.text for row in browser.find_all(".field-queue_name")] == ["mail"]
    field = browser.find(".async-typed input[name=queue]")
    field.send_keys("default")
    browser.press(field, Keys.ENTER)
    assert browser.find_all(".field-queue_name") == []
    assert browser.driver.current_url.endswith("?state=due&queue=default")
    browser.press(browser.find(".async-typed input[name=queue] ~ a"), Keys.ENTER)
    assert browser.driver.current_url.endswith("?state=due")


def test_a_word_is_searched_for(browser: Browser, rows: dict[str, Job]) -> None:
    browser.log_in(viewer())
    browser.open(LIST)
    field = browser.find("#searchbar")
    field.send_keys("suite.jobs.nothing")
    browser.press(field, Keys.ENTER)
    [state] = browser.find_all(".field-state_chip")
    assert state.text.endswith("cancelled")


def test_a_state_is_told_by_a_word_and_by_a_colour(browser: Browser, rows: dict[str, Job]) -> None:
    browser.log_in(viewer())
    browser.open(LIST)
    chips = browser.find_all(".async-chip")
    assert {chip.text.split()[-1] for chip in chips} == set(rows)
    colours = {chip.value_of_css_property("border-left-color") for chip in chips}
    assert len(colours) >= 3


def test_a_traceback_is_folded_and_unfolded_by_keyboard(
    browser: Browser, rows: dict[str, Job]
) -> None:
    browser.log_in(viewer())
    browser.open(address(rows["failing"]))
    traceback = browser.find(".async-timeline pre")
    assert not traceback.is_displayed()
    browser.find(".async-timeline summary").send_keys(Keys.ENTER)
    assert traceback.text.startswith("Traceback")


def test_a_job_is_cancelled_from_its_page(browser: Browser, rows: dict[str, Job]) -> None:
    browser.log_in(superuser())
    browser.open(address(rows["due"]))
    [button] = [one for one in browser.find_all(".async-verbs button") if "Cancel" in one.text]
    browser.follow(button)
    assert "One job is chosen" in browser.find("#content").text
    browser.follow(browser.find("#content .submit-row input[type=submit]"))
    assert "1 changed" in browser.find(".messagelist").text
    assert Job.objects.get(pk=rows["due"].pk).state == "cancelled"


def test_who_may_only_look_is_offered_nothing_else(browser: Browser, rows: dict[str, Job]) -> None:
    browser.log_in(viewer())
    for page in (LIST, address(rows["due"])):
        browser.open(page)
        assert browser.find_all("#content form[method=post] button") == []


def test_the_neighbours_lead_to_their_pages(browser: Browser) -> None:
    jobs = schedule_many({"function": nothing, "args": [n]} for n in range(3))
    browser.log_in(viewer())
    browser.open(address(jobs[1]))
    rows = browser.find_all("#async-job tbody tr")
    assert [row.get_attribute("aria-current") for row in rows] == [None, "true", None]
    browser.follow(rows[2].find_element("css selector", "a"))
    assert browser.find("#content h1").text == f"Job {jobs[2].pk}"
