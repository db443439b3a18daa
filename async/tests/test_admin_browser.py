"""The admin's pages in a real browser, under a strict Content-Security-Policy."""

from __future__ import annotations

import pytest

from django_async import schedule
from suite.browsing import PHONE, Browser, superuser, viewer
from suite.jobs import note


@pytest.mark.parametrize("model", ["job", "group", "error"])
def test_a_list_is_shown_without_a_complaint_of_the_browser(browser: Browser, model: str) -> None:
    schedule(note, ["<script>alert(1)</script>"])
    browser.log_in(superuser())
    browser.open(f"/admin/async/{model}/")
    assert browser.find("#content h1").text.startswith("Select")


def test_who_may_only_look_is_offered_no_button(browser: Browser) -> None:
    job = schedule(note)
    browser.log_in(viewer())
    browser.open(f"/admin/async/job/{job.pk}/change/")
    assert browser.find_all("#job_form input[type=submit]") == []


def test_what_breaks_the_policy_is_a_complaint(browser: Browser) -> None:
    browser.log_in(superuser())
    browser.open("/admin/")
    browser.run("const a = document.createElement('p'); a.setAttribute('style', 'color: red')")
    [complaint] = browser.complaints()
    assert "Content Security Policy" in complaint


def test_a_page_has_the_size_and_the_colours_that_are_asked_for(browser: Browser) -> None:
    browser.log_in(superuser())
    browser.open("/admin/")
    light = browser.find("body").value_of_css_property("background-color")
    browser.set_dark(dark=True)
    browser.resize(*PHONE)
    assert browser.find("body").value_of_css_property("background-color") != light
    assert (browser.run("return innerWidth"), browser.overflow) == (PHONE[0], 0)
