"""What keeps people from using the admin's pages, as far as axe-core knows it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.urls import reverse
from selenium.webdriver.support.ui import Select

from django_async import schedule
from django_async.models import Error, Group
from suite.axe import amiss, needs_axe
from suite.browsing import PHONE, WIDE, Browser, superuser
from suite.jobs import fail, note

pytestmark = needs_axe

HOUR = timedelta(hours=1)


@pytest.fixture
def group(flush: Callable[..., Any]) -> Group:
    """Half done, with an error."""
    group = Group.objects.create(reference="orders", description="of the day")
    schedule(fail, group=group)
    schedule(note, group=group, run_after=HOUR)
    flush(keep_going=True)
    return group


def ask(browser: Browser) -> None:
    """The question of an action, about all jobs of the list."""
    browser.open(reverse("admin:async_job_changelist"))
    browser.find("#action-toggle").click()
    Select(browser.find("select[name=action]")).select_by_value("reschedule")
    browser.follow(browser.find("button[name=index]"))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_finds_nothing_amiss_in_what_is_ours(browser: Browser, group: Group, dark: bool) -> None:
    error = Error.objects.get()
    pages = {
        reverse("admin:async_group_changelist"): "#result_list tbody",
        reverse("admin:async_group_change", args=[group.pk]): "#group_form",
        reverse("admin:async_error_changelist"): "#result_list tbody",
        reverse("admin:async_error_change", args=[error.pk]): "#error_form",
        reverse("admin:async_error_kinds"): "#async-kinds",
        reverse("admin:async_job_add"): "#async-schedule",
    }
    browser.forgive(
        "Applying inline style"
    )  # axe's own, on Django before 6.1: see the others' tests
    browser.set_dark(dark=dark)
    browser.log_in(superuser())
    for size in (PHONE, WIDE):
        browser.resize(*size)
        for address, part in pages.items():
            browser.open(address)
            assert (address, amiss(browser, part)) == (address, {})
        ask(browser)
        assert amiss(browser, "#content form") == {}
