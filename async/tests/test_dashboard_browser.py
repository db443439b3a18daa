"""The dashboard in a real browser: it keeps itself current, on every screen, and for everybody."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise

import pytest
from django.contrib.sessions.models import Session
from django.urls import reverse
from selenium.webdriver.common.keys import Keys

from django_async import schedule
from django_async.api import pause_queue
from django_async.control import Run
from django_async.models import Job
from django_async.slots import FUNCTION, QUEUE
from suite import figures, shown
from suite.axe import amiss, needs_axe
from suite.browsing import PHONE, WIDE, Browser, viewer
from suite.jobs import note
from suite.together import wait_until

SIZES = {"phone": PHONE, "tablet": (768, 1024), "wide": WIDE, "wall": (2560, 1440)}
HOSTILE = {
    "script": "<script>document.title = 'taken'</script>",
    "attribute": '"><img src="/x" onerror="document.title = 1">',
    "direction": "\u202egnp.exe",
    "control": "a\x07\x1b[31mb",
    "long": "x" * 100,
}


@pytest.fixture(autouse=True)
def _cleared(transactional_db: None) -> None:
    shown.clear()


@contextmanager
def busy(name: str = "shop.jobs.send") -> Iterator[Job]:
    """A queue in which there is all that the page can show."""
    figures.put(
        (90 + n % 7, n % 3, n * 300.0, scope, label, 0.1 * n, 0.2, 300)
        for n in range(10)
        for scope, label in (("all", ""), (QUEUE, name), (FUNCTION, name))
    )
    pause_queue(name)
    running, lost, *_ = (schedule(note, queue=name) for _ in range(4))
    schedule(note, run_after=timedelta(hours=1))
    Job.objects.update(name=name)
    progress = {"done": 3, "total": 4, "message": name}
    shown.dead(Run(lost.pk, 1, 4711, 30.0))
    with shown.living(Run(running.pk, 2, 4712, 95.0, progress)):
        yield running


def open_dashboard(browser: Browser, every: float = 1) -> None:
    """As somebody who may only look."""
    browser.log_in(viewer())
    browser.open(f"{reverse('admin:async_dashboard')}?every={every}")


def number(browser: Browser, state: str) -> str:
    """What a tile says; by a script, since what was found may be swapped before it is read."""
    return str(browser.run(f"return document.querySelector('.async-{state} strong').textContent"))


def refreshes(browser: Browser) -> int:
    """How often the page has brought itself up to date."""
    return int(
        browser.run("return document.getElementById('async-dashboard').dataset.refreshes ?? 0")
    )


def status(browser: Browser) -> str:
    """What a screen reader is told."""
    return str(browser.run("return document.querySelector('[role=status]').textContent"))


def refreshed(browser: Browser, times: int = 1) -> None:
    """Wait for so many refreshes more."""
    before = refreshes(browser)
    wait_until(lambda: refreshes(browser) >= before + times, "a refresh")


def test_the_index_leads_there(browser: Browser) -> None:
    browser.log_in(viewer())
    browser.open("/admin/")
    browser.follow(browser.find(".app-async a.section"))
    browser.follow(browser.find(".async-dashboard-link a"))
    assert browser.find("#content h1").text == "Dashboard"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_fits_on_every_screen_without_a_complaint(browser: Browser, dark: bool) -> None:
    browser.set_dark(dark=dark)
    with busy():
        open_dashboard(browser, every=60)
        for opened in ("false", "true"):
            script = f"document.querySelectorAll('details').forEach((one) => one.open = {opened})"
            browser.run(script)
            for size in SIZES.values():
                browser.resize(*size)
                assert browser.overflow == 0
                assert out_of_place(browser) == []


def out_of_place(browser: Browser) -> list[str]:
    """What a chart draws beyond its edges."""
    found: list[str] = browser.run(
        """
        const within = (a, b) => a.left >= b.left - 1 && a.right <= b.right + 1
            && a.top >= b.top - 1 && a.bottom <= b.bottom + 1;
        return [...document.querySelectorAll('.async-chart svg')].flatMap((svg) => {
            const place = svg.getBoundingClientRect();
            return [...svg.querySelectorAll('rect, text, line')]
                .filter((one) => !one.closest('pattern'))
                .filter((one) => !within(one.getBoundingClientRect(), place))
                .map((one) => one.outerHTML);
        });
        """
    )
    return found


def test_it_shows_new_numbers_without_being_loaded_anew(browser: Browser) -> None:
    open_dashboard(browser)
    browser.run("window.isTheSame = true")
    assert number(browser, "due") == "0"
    schedule(note)
    wait_until(lambda: number(browser, "due") == "1", "the new number")
    assert browser.run("return window.isTheSame")


def test_a_refresh_keeps_focus_scroll_and_opened_tables(browser: Browser) -> None:
    browser.resize(*PHONE)
    with busy():
        open_dashboard(browser)
        browser.run(
            """
            document.getElementById('async-table-day').open = true;
            document.getElementById('async-scroll-function').scrollLeft = 40;
            document.getElementById('async-window-week').focus();
            window.scrollTo(0, 900);
            document.querySelector('.async-due strong').textContent = 'old';
            """
        )
        refreshed(browser)
        assert number(browser, "due") != "old"
        kept = browser.run(
            """
            return [document.activeElement.id, document.getElementById('async-table-day').open,
                    document.getElementById('async-scroll-function').scrollLeft, window.scrollY];
            """
        )
    assert kept == ["async-window-week", True, 40, 900]


def test_what_is_being_marked_is_left_alone(browser: Browser) -> None:
    open_dashboard(browser)
    browser.run("getSelection().selectAllChildren(document.querySelector('.async-facts'))")
    schedule(note)
    refreshed(browser, 2)
    assert number(browser, "due") == "0"
    browser.run("getSelection().removeAllRanges()")
    wait_until(lambda: number(browser, "due") == "1", "the new number")


def test_while_it_is_hidden_it_asks_for_nothing(browser: Browser) -> None:
    open_dashboard(browser)
    refreshed(browser)
    browser.run(
        """
        window.changes = [];
        document.addEventListener('visibilitychange', () => {
            window.changes.push([document.visibilityState, performance.now()]);
        });
        """
    )
    page = browser.driver.current_window_handle
    browser.driver.switch_to.new_window("tab")
    until = time.monotonic() + 3
    wait_until(lambda: time.monotonic() > until, "the time in which three refreshes would be")
    browser.driver.close()
    browser.driver.switch_to.window(page)
    wait_until(lambda: len(browser.run("return window.changes")) == 2, "its being seen again")
    [[hidden, gone], [visible, back]] = browser.run("return window.changes")
    assert (hidden, visible) == ("hidden", "visible")
    refreshed(browser)
    asked = browser.run(
        "return performance.getEntriesByType('resource')"
        ".filter((one) => one.name.includes('/now/')).map((one) => one.startTime)"
    )
    assert [moment for moment in asked if gone + 50 < moment < back - 50] == []
    assert [moment for moment in asked if moment > back - 50]


def test_it_can_be_paused_and_resumed_by_keyboard(browser: Browser) -> None:
    open_dashboard(browser)
    button = browser.find("[data-async=toggle]")
    button.send_keys(Keys.ENTER)
    assert (button.text, status(browser)) == ("Resume updating", "Updating is paused.")
    schedule(note)
    before, until = refreshes(browser), time.monotonic() + 2.5
    wait_until(lambda: time.monotonic() > until, "the time in which two refreshes would be")
    assert (refreshes(browser), number(browser, "due")) == (before, "0")
    button.send_keys(Keys.SPACE)
    wait_until(lambda: number(browser, "due") == "1", "the new number")
    assert status(browser) == "Updating goes on."


def test_without_an_answer_it_says_so_asks_less_often_and_comes_back(browser: Browser) -> None:
    browser.forgive("ERR_INTERNET_DISCONNECTED")
    open_dashboard(browser)
    refreshed(browser)
    browser.set_online(online=False)
    wait_until(lambda: "does not answer" in status(browser), "word of it")
    until = time.monotonic() + 5
    wait_until(lambda: time.monotonic() > until, "the time in which five refreshes would be")
    browser.set_online(online=True)
    wait_until(lambda: status(browser) == "The server answers again.", "its coming back")
    tried = browser.run(
        "return performance.getEntriesByType('resource')"
        ".filter((one) => one.name.includes('/now/') && one.responseStatus === 0)"
        ".map((one) => one.startTime)"
    )
    assert 2 <= len(tried) <= 3
    pauses = [late - early for early, late in pairwise(tried)]
    assert all(late > 1.5 * early for early, late in pairwise(pauses))
    schedule(note)
    wait_until(lambda: number(browser, "due") == "1", "the new number")


def test_who_is_logged_out_meanwhile_is_told_and_nothing_is_asked_any_more(
    browser: Browser,
) -> None:
    open_dashboard(browser)
    Session.objects.all().delete()
    wait_until(lambda: "logged out" in status(browser), "word of it")
    assert not browser.find("[data-async=toggle]").is_displayed()
    before, until = refreshes(browser), time.monotonic() + 2.5
    wait_until(lambda: time.monotonic() > until, "the time in which two refreshes would be")
    assert refreshes(browser) == before


def test_who_may_not_see_it_any_more_is_told(browser: Browser) -> None:
    browser.forgive("403")
    user = viewer()
    browser.log_in(user)
    browser.open(f"{reverse('admin:async_dashboard')}?every=1")
    user.user_permissions.clear()
    wait_until(lambda: "may not see this" in status(browser), "word of it")


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_names_are_inert_and_spoil_no_layout(browser: Browser, kind: str) -> None:
    browser.resize(*PHONE)
    with busy(HOSTILE[kind]):
        open_dashboard(browser)
        refreshed(browser)
        assert browser.driver.title.startswith("Dashboard")
        assert browser.find_all("#async-dashboard img, #async-dashboard script") == []
        assert browser.overflow == 0
        text = browser.find("#async-dashboard").text
    assert not set(text) & {"\u202e", "\x07", "\x1b"}


def test_it_is_worked_through_in_order_by_keyboard(browser: Browser) -> None:
    with busy() as running:
        open_dashboard(browser, every=60)
        browser.find("[data-async=toggle]").send_keys(Keys.NULL)
        browser.run("document.querySelector('[data-async=toggle]').focus()")
        reached = [_tab(browser) for _ in range(16)]
    counts = ("due", "running", "scheduled", "failing", "discarded", "executed", "cancelled")
    assert [name for name in reached if "async-run-" not in name] == [
        *(f"async-count-{state}" for state in counts),
        *("async-oldest", "async-scroll-running"),
        *("async-summary-hour", "async-summary-day", "async-summary-week"),
        *("async-window-hour", "async-window-day"),
    ]
    assert reached[9] == f"async-run-{running.pk}"


def _tab(browser: Browser) -> str:
    browser.driver.switch_to.active_element.send_keys(Keys.TAB)
    return str(browser.run("return document.activeElement.id"))


def test_it_is_one_of_landmarks_headings_and_tables_with_heads(browser: Browser) -> None:
    with busy():
        open_dashboard(browser, every=60)
        assert len(browser.find_all("#async-dashboard section[aria-labelledby]")) == 5
        headings = [found.text.split(",")[0] for found in browser.find_all("#async-dashboard h2")]
        assert headings == [
            *("Now", "Running", "Throughput and failures"),
            *("Waiting and running times", "Hosts"),
        ]
        assert browser.find_all("#async-dashboard table th:not([scope])") == []
        assert browser.find_all("#async-dashboard tbody tr:not(:has(th[scope=row]))") == []
        assert browser.find("[role=status]").get_attribute("aria-live") == "polite"
        [progress] = browser.find_all("#async-dashboard progress")
        assert progress.accessible_name.startswith("Progress of job")
        names = [chart.accessible_name for chart in browser.find_all("#async-dashboard svg")]
    assert names == [
        f"Executed jobs and failed attempts: {window} "
        "Bars from the oldest to now: 924 executed, 9 failed. The table below has the numbers."
        for window in ("Last hour", "Last day", "Last week")
    ]


@needs_axe
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_amiss(browser: Browser, dark: bool) -> None:
    browser.set_dark(dark=dark)
    with busy():
        open_dashboard(browser, every=60)
        for size in (PHONE, WIDE):
            browser.resize(*size)
            assert amiss(browser, "#async-dashboard") == {}
