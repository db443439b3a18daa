"""The dashboard says how the queue is, and changes nothing in it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from django_async import clock, overview, performance, schedule
from django_async.admin import wording
from django_async.admin.state import state
from django_async.api import deschedule, pause_queue, schedule_many
from django_async.control import Run
from django_async.ledger import OTHERS
from django_async.models import Job, Statistic
from django_async.overview import Number
from django_async.slots import COARSE, FINE, FUNCTION, QUEUE
from suite import costs, figures, jobs, shown
from suite.abuse import sleep
from suite.browsing import viewer
from suite.spying import each_statement

pytestmark = pytest.mark.django_db(transaction=True)

PAGE, NOW = "admin:async_dashboard", "admin:async_dashboard_now"
HOUR, DAY = 3600.0, 86400.0


@pytest.fixture(autouse=True)
def _cleared() -> None:
    shown.clear()


@pytest.fixture
def look(client: Client) -> Callable[..., str]:
    """The page, or its inner part, as somebody sees it who may only look."""
    client.force_login(viewer())

    def text(name: str = PAGE, **parameters: Any) -> str:
        answer = client.get(reverse(name), parameters)
        assert answer.status_code == 200
        return answer.content.decode()

    return text


def tiles() -> dict[str, str]:
    """The numbers at the top, by state."""
    return {tile["state"]: tile["number"] for tile in state("hour")["tiles"]}


def table(scope: str, window: str = "hour") -> list[dict[str, Any]]:
    """The rows of a table of the page."""
    [rows] = [rows for found, _, _, rows, _ in state(window)["tables"] if found == scope]
    return list(rows)


def test_the_list_of_the_queues_models_links_to_it(client: Client) -> None:
    client.force_login(viewer())
    listed = client.get(reverse("admin:app_list", args=["async"])).content.decode()
    assert f'href="{reverse(PAGE)}"' in listed


def test_the_link_is_for_those_who_may_follow_it(client: Client) -> None:
    client.force_login(User.objects.create_user("clerk", is_staff=True))
    answer = client.get(reverse("admin:app_list", args=["async"]))
    assert reverse(PAGE) not in answer.content.decode()


@pytest.mark.parametrize("name", [PAGE, NOW])
def test_who_may_not_see_jobs_is_refused(client: Client, name: str) -> None:
    client.force_login(User.objects.create_user("clerk", is_staff=True))
    assert client.get(reverse(name)).status_code == 403


@pytest.mark.parametrize("name", [PAGE, NOW])
def test_who_is_not_logged_in_is_sent_to_do_so(client: Client, name: str) -> None:
    answer = client.get(reverse(name))
    assert answer.status_code == 302
    assert "/login/" in answer["Location"]


@pytest.mark.parametrize("name", [PAGE, NOW])
@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_nothing_but_reading_is_answered(admin_client: Client, name: str, method: str) -> None:
    assert getattr(admin_client, method)(reverse(name)).status_code == 405


@pytest.mark.parametrize("name", [PAGE, NOW])
def test_looking_changes_nothing(look: Callable[..., str], name: str) -> None:
    schedule(jobs.note)
    figures.attempted(3, 1)
    models = list(apps.get_app_config("async").get_models())
    before = [list(model._base_manager.order_by("pk").values()) for model in models]
    with CaptureQueriesContext(connection) as queries:
        look(name)
    assert [list(model._base_manager.order_by("pk").values()) for model in models] == before
    writes = [query["sql"] for query in queries if re.match("INSERT|UPDATE|DELETE", query["sql"])]
    assert writes == []


def test_neither_page_is_kept_by_a_cache(admin_client: Client) -> None:
    for name in (PAGE, NOW):
        assert "no-store" in admin_client.get(reverse(name))["Cache-Control"]


def test_it_counts_the_jobs_of_each_state(flush: Callable[..., Any]) -> None:
    schedule(jobs.note)
    schedule(jobs.fail)
    for _ in range(2):
        schedule(jobs.fail, meta={"max_attempts": 1})
    flush(keep_going=True)
    schedule(jobs.nothing)
    deschedule(jobs.nothing)
    for _ in range(3):
        schedule(jobs.note)
    for _ in range(4):
        schedule(jobs.note, run_after=timedelta(hours=1))
    assert tiles() == {
        "due": "3",
        "running": "0",
        "scheduled": "5",
        "failing": "1",
        "discarded": "2",
        "executed": "1",
        "cancelled": "1",
    }


def test_each_number_leads_to_as_many_jobs(admin_client: Client, flush: Callable[..., Any]) -> None:
    schedule(jobs.fail)
    schedule(jobs.nothing)
    flush(keep_going=True)
    Job.objects.filter(attempts=1, executed=None).update(scheduled=None)
    schedule_many({"function": jobs.note, "run_after": timedelta(hours=1)} for _ in range(3))
    page = admin_client.get(reverse(NOW)).content.decode()
    links = dict(re.findall(r'id="async-count-(\w+)" href="([^"]*)"', page))
    assert links.keys() == tiles().keys()
    for found, number in tiles().items():
        listed = admin_client.get(links[found])
        assert (found, f"{len(listed.context['cl'].result_list)}") == (found, number)


def test_queues_and_functions_lead_to_their_jobs(
    admin_client: Client, look: Callable[..., str]
) -> None:
    job = schedule(jobs.note)
    Job.objects.filter(pk=job.pk).update(name="a&b <c>", queue="a&b <c>")
    schedule(jobs.note)
    for label in ("a&b <c>", OTHERS):
        figures.attempted(1, scope=FUNCTION, label=label)
        figures.attempted(1, scope=QUEUE, label=label)
    page, jobs_page = look(NOW), reverse("admin:async_job_changelist")
    for scope in (QUEUE, FUNCTION):
        link = f"{jobs_page}?{scope}=a%26b+%3Cc%3E"
        assert f'href="{link}"' in page
        assert list(admin_client.get(link).context["cl"].result_list) == [job]
        assert f"?{scope}=%28" not in page
    assert OTHERS in page


def test_what_runs_is_no_longer_due() -> None:
    running, *_ = (schedule(jobs.note) for _ in range(3))
    beside = schedule(jobs.note, meta={"atomic": False})
    Job.objects.filter(pk=beside.pk).update(started=clock.now("default"))
    with shown.living(*(Run(job.pk, 1, 4711, 30.0) for job in (running, beside))):
        found = tiles()
    assert (found["due"], found["running"], found["scheduled"]) == ("2", "2", "0")


def test_it_shows_what_runs_with_its_progress_and_since_when(look: Callable[..., str]) -> None:
    told, silent = schedule(jobs.note, queue="mail"), schedule(jobs.nothing)
    progress = {"done": 3, "total": 4, "message": "Zoë <b>"}
    with shown.living(Run(told.pk, 2, 4711, 95.0, progress), Run(silent.pk, 1, 4712, 1.0)):
        page = look()
        [first, second] = state("hour")["runs"]
    assert (first["id"], first["percent"], first["attempt"], first["pid"]) == (
        *(told.pk, "75"),
        *(2, 4711),
    )
    assert first["age"].startswith("1 min 3")
    assert second["total"] is None
    assert f'<progress value="3" max="4" aria-label="Progress of job {told.pk}">' in page
    assert "Zoë &lt;b&gt;" in page
    assert page.count("<progress") == 1


@pytest.mark.parametrize(
    ("progress", "percent"),
    [
        ({"done": 9, "total": 4}, "100"),
        ({"done": -1, "total": 4}, "0"),
        ({"done": 1, "total": 0}, None),
        ({"done": None, "total": 4}, "0"),
        ({"total": 3, "done": 1}, "33"),
    ],
)
def test_progress_beyond_its_bounds_is_kept_within_them(
    progress: dict[str, Any], percent: str | None
) -> None:
    with shown.living(Run(schedule(jobs.note).pk, 1, 4711, 30.0, progress)):
        [run] = state("hour")["runs"]
    assert run["percent"] == percent


def test_what_a_dead_parent_ran_is_said_to_be_dead(look: Callable[..., str]) -> None:
    shown.dead(Run(schedule(jobs.note).pk, 1, 4711, 30.0))
    page = look()
    assert tiles()["running"] == "0"
    assert "fallen 4711 <strong" in page


def test_hosts_are_shown_with_their_workers_and_last_sign_of_life(
    look: Callable[..., str],
) -> None:
    shown.dead(Run(schedule(jobs.note).pk, 1, 4711, 30.0))
    with shown.living(Run(schedule(jobs.note).pk, 1, 4713, 30.0), workers=3):
        page = look()
        found = {host["host"]: host for host in state("hour")["hosts"]}
    gone = found.pop("fallen")
    [alive] = found.values()
    assert (gone["is_alive"], gone["busy"]) == (False, 1)
    assert (alive["is_alive"], alive["workers"], alive["busy"], alive["pids"]) == (
        *(True, 3),
        *(1, "4713"),
    )
    assert "alive now" in page
    assert re.search(r"seen \d+ m?s ago", page)


def test_without_any_parent_it_says_so(look: Callable[..., str]) -> None:
    schedule(jobs.note)
    page = look()
    assert "No flush_queue is running." in page
    assert "No worker is there to do it." in page


def test_paused_queues_are_shown(look: Callable[..., str]) -> None:
    assert "No queue is paused." in look()
    pause_queue("mail <b>")
    pause_queue()
    page = look()
    assert "the queue mail &lt;b&gt;" in page
    assert "every queue" in page


def test_the_job_that_is_due_the_longest_is_linked(look: Callable[..., str]) -> None:
    assert "Nothing is due." in look()
    now = timezone.now()
    schedule(jobs.note, priority=9)
    oldest = schedule(jobs.nothing, priority=1, run_after=now - timedelta(seconds=3700))
    schedule(jobs.note, priority=1, run_after=now - timedelta(seconds=60))
    page = look()
    assert f'href="{reverse("admin:async_job_change", args=[oldest.pk])}"' in page
    assert "for 1 h 1 min" in page


def test_a_failed_job_that_waits_is_not_the_oldest_due_one(flush: Callable[..., Any]) -> None:
    schedule(jobs.fail)
    flush(keep_going=True)
    assert state("hour")["oldest"] is None


def estimate(due: int, workers: int) -> overview.Estimate | None:
    """When so many jobs will be done."""
    now = clock.utc_now("default")
    hour, day = performance.series(now, (performance.HOUR, performance.DAY), "default")
    recent = performance.by_label(FUNCTION, hour.since, "default")
    times = overview.Times(recent, day.total.mean, now, "default")
    return overview.estimate("default", due, workers, times)


@pytest.mark.parametrize("ago", [0.0, 5 * HOUR])
def test_the_time_to_empty_is_from_the_times_of_the_functions_and_the_workers(ago: float) -> None:
    figures.attempted(100, scope=FUNCTION, label="suite.jobs.note", ran=2.0)
    figures.attempted(100, scope=FUNCTION, label="suite.jobs.nothing", ran=10.0, ago=ago)
    for _ in range(6):
        schedule(jobs.note)
    schedule(jobs.nothing)
    found = estimate(7, 2)
    assert found is not None
    side_by_side = 1 if connection.vendor == "sqlite" else 2
    assert found.seconds == pytest.approx((6 * 2 + 10) / side_by_side)


def test_a_function_that_nobody_knows_takes_as_long_as_others() -> None:
    figures.attempted(10, ran=3.0, ago=HOUR)
    schedule(jobs.note)
    found = estimate(1, 4)
    assert found is not None
    assert found.seconds == pytest.approx(3.0)


def test_what_cannot_be_estimated_is_not(look: Callable[..., str]) -> None:
    schedule(jobs.note)
    assert estimate(1, 1) is None, "no times"
    figures.attempted(10)
    assert estimate(1, 0) is None, "no workers"
    with shown.living():
        assert "What is due will be done in 500 ms" in look()


def test_the_estimate_is_near_to_what_then_happens(flush: Callable[..., Any]) -> None:
    for _ in range(4):
        schedule(sleep, [0.1])
    flush(workers=2)
    for _ in range(10):
        schedule(sleep, [0.1])
    found = estimate(10, 2)
    began = time.monotonic()
    flush(workers=2)
    assert found is not None
    assert found.seconds == pytest.approx(time.monotonic() - began, rel=0.6)


def test_each_window_has_what_ended_in_it() -> None:
    figures.attempted(1, 1, ago=0)
    figures.attempted(10, 2, ago=HOUR / 2)
    figures.attempted(100, 4, ago=5 * HOUR, width=COARSE)
    figures.attempted(1000, 8, ago=3 * DAY, width=COARSE)
    figures.attempted(9999, 9, ago=8 * DAY, width=COARSE)
    found = {chart.name: (chart.executed, chart.failed) for _, chart in state("hour")["charts"]}
    assert found == {"hour": ("11", "3"), "day": ("111", "7"), "week": ("1,111", "15")}


def test_bars_are_where_and_as_high_as_they_should_be() -> None:
    figures.attempted(100, 0, ago=0)
    figures.attempted(20, 30, ago=30 * 60)
    hour = state("hour")["charts"][0][1]
    place = [column.executed for column in hour.columns].index("100")
    assert hour.columns[place].height == hour.base - hour.ticks[0].y
    half = hour.columns[place - 6]
    assert (half.executed, half.failed) == ("20", "30")
    assert half.failed_y + half.failed_height == pytest.approx(half.y, abs=0.11)
    assert half.height + half.failed_height == pytest.approx(
        hour.columns[place].height / 2, abs=0.11
    )
    assert len(hour.columns) == 12


def test_the_charts_say_the_same_as_their_tables(look: Callable[..., str]) -> None:
    figures.attempted(1234, 56, ago=0)
    page = look(NOW)
    assert page.count('<svg viewBox="0 0 320 110" role="img" aria-labelledby=') == 3
    assert page.count("<caption>") == 3
    assert page.count('<td class="async-number">1,234</td><td class="async-number">56</td>') == 3


def test_times_are_told_by_queue_and_by_function() -> None:
    for scope, label in ((QUEUE, "mail"), (FUNCTION, "shop.send")):
        figures.attempted(98, scope=scope, label=label, waited=0.01, ran=1.0)
        figures.attempted(2, 0, scope=scope, label=label, waited=60.0, ran=600.0)
    figures.attempted(1, 1, scope=QUEUE, label="slow")
    for scope in (QUEUE, FUNCTION):
        row = table(scope)[0]
        assert (row["executed"], row["failed"]) == ("100", "0")
        assert row["waits"][0] in ("10 ms", "11 ms", "9 ms")
        assert row["runs"][2].endswith("min") or " min " in row["runs"][2]
    assert [row["label"] for row in table(QUEUE)] == ["mail", "slow"]
    assert table(QUEUE)[1]["share"] == "50 %"


def test_the_tables_are_about_the_window_that_is_chosen(look: Callable[..., str]) -> None:
    figures.attempted(5, scope=FUNCTION, label="shop.old", ago=5 * HOUR, width=COARSE)
    assert table(FUNCTION) == []
    assert [row["label"] for row in table(FUNCTION, "day")] == ["shop.old"]
    assert "shop.old" in look(NOW, window="day")
    assert "shop.old" not in look(NOW, window="nonsense")


def test_of_many_functions_the_busiest_are_shown() -> None:
    figures.put(
        (number + 1, 0, 0.0, FUNCTION, f"shop.f{number}", 0.1, 0.1, FINE) for number in range(60)
    )
    rows, others = state("hour")["tables"][2][3:]
    assert (len(rows), others) == (50, 10)
    assert rows[0]["label"] == "shop.f59"


@pytest.mark.parametrize(
    ("every", "seconds"),
    [
        ("", 5),
        ("30", 30),
        ("0", 1),
        ("99999", 3600),
        ("-3", 5),
        ("1e3", 5),
        ("²", 5),
        ("9" * 99, 5),
    ],
)
def test_how_often_it_is_refreshed_is_within_bounds(
    look: Callable[..., str], every: str, seconds: int
) -> None:
    assert f'data-every="{seconds}"' in look(every=every)


@pytest.mark.parametrize(
    "name",
    ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "\u202eexe.gpj", "a\x07\x1bb"],
)
def test_hostile_names_are_text(look: Callable[..., str], name: str) -> None:
    Job.objects.create(name=name, queue=name, args=json.dumps(["9" * 1_000_000]))
    figures.attempted(1, scope=FUNCTION, label=name)
    figures.attempted(1, scope=QUEUE, label=name)
    pause_queue(name)
    job = schedule(jobs.note)
    Job.objects.filter(pk=job.pk).update(name=name, queue=name)
    with shown.living(Run(job.pk, 1, 4711, 30.0, {"done": 1, "total": 2, "message": name})):
        page = look()
    tags = _Tags()
    tags.feed(page)
    assert not tags.found & {"img"}
    assert "alert(1)</script>" not in page
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e]", page)
    assert len(page) < 200_000


class _Tags(HTMLParser):
    """Which tags there are."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)
        assert not [name for name, _ in attrs if name.startswith("on") or name == "style"]


def test_numbers_of_another_language_spoil_neither_drawings_nor_ids(
    look: Callable[..., str], settings: Any
) -> None:
    settings.LANGUAGE_CODE, settings.USE_THOUSAND_SEPARATOR = "de", True
    figures.attempted(12345, 2)
    job = schedule(jobs.note)
    Job.objects.filter(pk=job.pk).update(id=1234567)
    with shown.living(Run(1234567, 1, 4711, 3.04, {"done": 1500.5, "total": 3001})):
        page = look(NOW)
    assert "12.345" in page
    assert 'id="async-run-1234567"' in page
    assert '<progress value="1500.5" max="3001"' in page
    assert re.search(r"\(3,\d s\)", page)
    for number in re.findall(r'\s(?:x|y|x1|x2|y1|y2|width|height)="([^"]*)"', page):
        assert re.fullmatch(r"\d+(\.\d+)?", number), number


def test_nothing_is_inline(look: Callable[..., str]) -> None:
    figures.attempted(3, 2)
    page = look()
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", page)
    assert all("src=" in tag for tag in re.findall("<script[^>]*>", page))


@pytest.fixture
def small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers so small that tests exceed them."""
    monkeypatch.setattr(overview, "COUNTED", 50)
    monkeypatch.setattr(overview, "SAMPLE", 20)


def test_numbers_beyond_the_bound_are_said_to_be_more(small_bounds: None) -> None:
    schedule_many({"function": jobs.nothing, "args": [number]} for number in range(80))
    later = timedelta(hours=1)
    schedule_many({"function": jobs.nothing, "args": [n], "run_after": later} for n in range(70))
    found = tiles()
    assert (found["due"], found["scheduled"]) == ("more than 50", "more than 50")


def test_of_many_pending_jobs_those_for_later_are_counted_by_themselves(small_bounds: None) -> None:
    schedule_many({"function": jobs.nothing, "priority": n % 4} for n in range(80))
    later = timedelta(hours=1)
    schedule_many(
        {"function": jobs.nothing, "priority": n % 4, "run_after": later} for n in range(20)
    )
    found = tiles()
    assert (found["due"], found["scheduled"]) == ("more than 50", "20")


def _fill(times: int) -> None:
    """Jobs of each state and statistics, as many as a queue has after so many days."""
    later, now = timezone.now() + timedelta(days=1), timezone.now()
    schedule_many(
        {"function": jobs.nothing, "priority": n % 3, "run_after": later if n % 2 else None}
        for n in range(200 * times)
    )
    done = list(Job.objects.pending().values_list("pk", flat=True))
    for number, field in enumerate(("executed", "cancelled", "discarded")):
        some = Job.objects.filter(pk__in=done[number::5])
        some.update(**{"started": now, field: now - timedelta(days=times)})


def test_the_cost_of_a_refresh_does_not_grow_with_the_number_of_jobs(small_bounds: None) -> None:
    figures.put(
        (9, 1, hour * HOUR, FUNCTION, f"shop.f{n}", 0.1, 0.1, COARSE)
        for hour in range(150)
        for n in range(10)
    )
    found = []
    for times in (5, 20):
        _fill(times)
        costs.analyse()
        found.append(costs.cost(lambda: state("hour")))
    assert found[1] < 1.1 * found[0] + 20


@pytest.mark.skipif(connection.vendor != "postgresql", reason="it is PostgreSQL's word")
def test_a_refresh_reads_no_large_table_from_end_to_end(small_bounds: None) -> None:
    _fill(20)
    figures.put(
        (9, 1, hour * HOUR, scope, f"f{n}" if scope == FUNCTION else "", 0.1, 0.1, COARSE)
        for hour in range(150)
        for n in range(10)
        for scope in (("all", FUNCTION) if n == 0 else (FUNCTION,))
    )
    costs.analyse()
    plans: list[dict[str, Any]] = []

    def explain(sql: str, params: Any) -> None:
        if sql.startswith("SELECT") and "async_" in sql:
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", params)
                [[plan]] = cursor.fetchall()
            plans.append((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"])

    with each_statement(explain):
        state("hour")
    scans = [node for plan in plans for node in costs._scans(plan)]
    whole = {scan["Relation Name"] for scan in scans if scan["Node Type"] == "Seq Scan"}
    assert {scan["Relation Name"] for scan in scans} >= {"async_job", "async_statistic"}
    assert whole <= {"async_parent", "async_pause", "async_running"}, whole


def test_the_number_of_statements_is_constant() -> None:
    counts = []
    for _ in range(2):
        schedule_many({"function": jobs.nothing, "args": [n]} for n in range(200))
        figures.put((1, 0, n * 60.0, QUEUE, f"q{n}", 0.1, 0.1, FINE) for n in range(30))
        with CaptureQueriesContext(connection) as queries:
            state("hour")
        counts.append(len(queries))
    assert counts[0] == counts[1] < 40


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((None, "\N{EN DASH}"), (0.0, "0 ms"), (0.0123, "12 ms"), (0.9996, "1.0 s")),
        *((2.44, "2.4 s"), (59.96, "1 min"), (303, "5 min 3 s"), (3600, "1 h")),
        *((12_000, "3 h 20 min"), (190_000, "2 d 4 h"), (-3, "0 ms"), (1e9, "11,574 d 1 h")),
    ],
)
def test_a_duration_is_told_in_two_units(seconds: float | None, text: str) -> None:
    assert wording.duration(seconds) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"), [(0, 0, "\N{EN DASH}"), (1, 1000, "0.1 %"), (1, 2, "50 %")]
)
def test_a_share_is_told_in_percent(part: int, whole: int, text: str) -> None:
    assert wording.share(part, whole) == text


def test_a_number_says_what_it_is() -> None:
    assert wording.number(Number(1234)) == "1,234"
    assert wording.number(Number(10_000, is_more=True)) == "more than 10,000"
    assert wording.number(Number(1_000_000, is_about=True)) == "about 1,000,000"


def test_without_time_zones_it_says_the_same(settings: Any) -> None:
    settings.USE_TZ, settings.TIME_ZONE = False, "Asia/Kathmandu"
    figures.attempted(7, ago=60)
    assert state("hour")["charts"][0][1].executed == "7"
    assert Statistic.objects.count() == 1
    assert performance.HOUR.bars == 12
