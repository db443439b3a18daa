"""Scheduling by hand and the actions on jobs, in a real browser under a strict policy."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from selenium.webdriver.support.ui import Select

from django_async import schedule
from django_async.models import Job
from suite.browsing import PHONE, Browser, superuser, viewer
from suite.jobs import note
from suite.pages import HOSTILE

ADD, LIST = "/admin/async/job/add/", "/admin/async/job/"
HOUR = timedelta(hours=1)


def planner() -> User:
    """Somebody who may look, and schedule by hand."""
    user = viewer()
    user.user_permissions.add(Permission.objects.get(codename="schedule_job"))
    return user


def fill(browser: Browser, **values: str) -> None:
    for name, value in values.items():
        element = browser.find(f"#async-schedule [name={name}]")
        element.clear()
        element.send_keys(value)


def submit(browser: Browser) -> None:
    browser.follow(browser.find("#content .submit-row input[type=submit]"))


def test_a_job_is_scheduled_by_hand(browser: Browser) -> None:
    browser.log_in(planner())
    browser.open(ADD)
    fill(browser, function="suite.jobs.note", args='["<b>"]', minutes="60")
    submit(browser)
    job = Job.objects.get()
    assert browser.driver.current_url.endswith(f"/{job.pk}/change/")
    assert f"Job {job.pk} is scheduled" in browser.find(".messagelist").text
    assert job.args == '["<b>"]'


def test_what_is_refused_stays_in_the_form(browser: Browser) -> None:
    browser.log_in(planner())
    browser.open(ADD)
    fill(browser, function="os.abort", args="[1, 2]", queue="slow")
    submit(browser)
    assert "SCHEDULABLE" in browser.find(".field-function .errorlist").text
    values = {
        name: browser.find(f"[name={name}]").get_attribute("value")
        for name in ("function", "args", "queue")
    }
    assert values == {"function": "os.abort", "args": "[1, 2]", "queue": "slow"}
    assert not Job.objects.exists()


@pytest.mark.parametrize("is_dark", [False, True])
def test_the_form_fits_a_phone_light_and_dark(browser: Browser, is_dark: bool) -> None:
    browser.log_in(planner())
    browser.set_dark(dark=is_dark)
    browser.resize(*PHONE)
    browser.open(ADD)
    assert browser.overflow == 0
    fill(browser, function="os.abort")
    submit(browser)
    assert browser.find(".field-function .errorlist").is_displayed()
    assert browser.overflow == 0


def test_each_field_has_a_label_that_says_what_it_is(browser: Browser) -> None:
    browser.log_in(planner())
    browser.open(ADD)
    unlabelled = browser.run(
        "return [...document.querySelectorAll('#async-schedule .form-row :is(input, textarea)')]"
        ".filter(field => !field.labels.length).map(field => field.name)"
    )
    assert unlabelled == []


def test_who_may_only_look_finds_no_way_to_schedule(browser: Browser) -> None:
    browser.log_in(viewer())
    browser.open(LIST)
    assert browser.find_all("a.addlink") == []


def choose(browser: Browser, action: str) -> None:
    """Choose all jobs of the page, and an action for them."""
    browser.find("#action-toggle").click()
    Select(browser.find("select[name=action]")).select_by_value(action)
    browser.follow(browser.find("button[name=index]"))


@pytest.mark.parametrize("action", ["cancel", "discard"])
def test_an_action_asks_and_then_does_it_to_what_was_chosen(browser: Browser, action: str) -> None:
    jobs = [schedule(note, [number], run_after=HOUR) for number in range(3)]
    browser.log_in(superuser())
    browser.open(LIST)
    choose(browser, action)
    assert "3 jobs are chosen" in browser.find("#content").text
    assert all(job.state == "scheduled" for job in Job.objects.all())
    submit(browser)
    assert "3 changed" in browser.find(".messagelist").text
    states = {job.state for job in Job.objects.filter(pk__in=[job.pk for job in jobs])}
    assert states == {f"{action}led" if action == "cancel" else f"{action}ed"}


def test_an_action_takes_its_value_from_the_question(browser: Browser) -> None:
    job = schedule(note, run_after=HOUR)
    browser.log_in(superuser())
    browser.open(LIST)
    choose(browser, "move")
    submit_with(browser, queue="slow")
    job.refresh_from_db()
    assert job.queue == "slow"


def submit_with(browser: Browser, **values: str) -> None:
    for name, value in values.items():
        browser.find(f"#content [name={name}]").send_keys(value)
    submit(browser)


def test_names_and_arguments_that_are_hostile_do_nothing_in_the_question(browser: Browser) -> None:
    for text in HOSTILE:
        schedule(note, [text], run_after=HOUR)
    Job.objects.update(name=HOSTILE[0])
    browser.log_in(superuser())
    browser.open(LIST)
    browser.resize(*PHONE)
    choose(browser, "cancel")
    assert "taken" not in browser.driver.title
    assert "document.title = 'taken'" in browser.find("#content").text
    assert not {"\u202e", "\x07", "\x1b"} & set(browser.find("#content").text)
    assert browser.find_all("#content img") == []
    assert browser.overflow == 0
