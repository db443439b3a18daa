"""How the databases carry out what the queue asks of them, by their own word (EXPLAIN)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from django_async import clock, fetch
from django_async.api import schedule_many
from django_async.hints import Hint
from django_async.models import Job
from django_async.outlook import Outlook, outlook
from suite import jobs
from suite.spying import blocks_read, each_statement

PAGE = 64

# On commits, since MySQL's ANALYZE commits.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("_backlog")]


@pytest.fixture
def _backlog() -> None:
    """Jobs of three priorities: most are done or lie in the future, and some are due."""
    now = clock.now("default")
    schedule_many(
        {
            "function": jobs.nothing,
            "args": [number],
            "priority": number % 3,
            "run_after": [None, timedelta(days=1), now - timedelta(seconds=number)][
                number // 3 % 3
            ],
        }
        for number in range(9000)
    )
    done = Job.objects.filter(id__in=list(Job.objects.values_list("id", flat=True)[:3000]))
    done.update(started=now, executed=now)
    _analyse()


def _analyse() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE TABLE async_job" if connection.vendor == "mysql" else "ANALYZE")
        cursor.fetchall() if connection.vendor == "mysql" else None


def test_every_read_of_the_walk_goes_through_the_index_in_its_order() -> None:
    reads = fetch.Fetch("default", fetch.bounds("default"), fetch.Selection())
    with each_statement(assert_flat):
        pages = list(_pages(reads, PAGE))
    assert sum(map(len, pages)) == Job.objects.due().count()


def test_the_walk_goes_through_the_index_by_whatever_the_statistics_say() -> None:
    """These are of a moment when all jobs waited, and none for its time."""
    Job.objects.all().delete()
    schedule_many({"function": jobs.nothing, "args": [number]} for number in range(3000))
    _analyse()
    waits = Job.objects.order_by("-id")[:PAGE]
    Job.objects.exclude(id__in=[job.id for job in waits]).update(
        started=clock.now("default"), executed=clock.now("default")
    )
    reads = fetch.Fetch("default", None, fetch.Selection())
    with each_statement(assert_flat):
        assert len(reads.page(None, 10)) == 10


def test_so_does_a_look_at_what_is_more_urgent() -> None:
    reads = fetch.Fetch("default", None, fetch.Selection())
    [*_, last] = reads.page(None, PAGE)
    for least in (last, replace(last, scheduled=None)):
        with each_statement(assert_flat_if_it_finds_jobs):
            reads.more_urgent(least, PAGE)


@pytest.mark.skipif(connection.vendor != "postgresql", reason="others do not say what they read")
def test_the_outlook_is_a_few_probes_though_no_statistics_tell_of_the_jobs() -> None:
    """They were just scheduled, many at once: it is what wakes an idle service."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE async_job CASCADE")
    _analyse()
    schedule_many({"function": jobs.nothing, "priority": number % 3} for number in range(3000))
    assert outlook("default") == Outlook(due=True, next_due=None, priorities=(2, 1, 0))
    assert blocks_read(lambda: outlook("default")) < 50


def assert_flat_if_it_finds_jobs(sql: str, params: Any) -> None:
    """To find the next priority is a probe, whatever its plan is called."""
    if fetch.COLUMNS in sql:
        assert_flat(sql, params)


def _pages(reads: fetch.Fetch, size: int) -> Iterator[list[Hint]]:
    after = None
    while page := reads.page(after, size):
        yield page
        after = page[-1]


def assert_flat(sql: str, params: Any) -> None:
    """The statement walks the queue's index: it neither sorts nor reads the table as a whole."""
    {"postgresql": _flat_postgresql, "mysql": _flat_mysql, "sqlite": _flat_sqlite}[
        connection.vendor
    ](sql, params)


def _explain(how: str, sql: str, params: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(f"{how} {sql}", params)
        return list(cursor.fetchall())


def _flat_postgresql(sql: str, params: Any) -> None:
    """Where hardly more than a page of rows is left, the planner may fetch and sort them all."""
    [[[plan]]] = _explain("EXPLAIN (FORMAT JSON)", sql, params)
    nodes = list(_nodes(plan["Plan"]))
    assert {node["Index Name"] for node in nodes if "Index Name" in node} == {
        "async_job_to_fetch"
    }, plan
    assert not any(node["Node Type"] == "Seq Scan" for node in nodes), plan
    sorted_rows = [node["Plan Rows"] for node in nodes if "Sort" in node["Node Type"]]
    assert all(rows <= 2 * PAGE for rows in sorted_rows), plan


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The plan's nodes, those that only look at a job's group excepted."""
    yield node
    for child in node.get("Plans", []):
        if child["Parent Relationship"] != "SubPlan":
            yield from _nodes(child)


def _flat_mysql(sql: str, params: Any) -> None:
    rows = _explained_mysql(sql, params)
    [outer] = [row for row in rows if row["table"] == "async_job"]
    assert outer["key"] == "async_job_to_fetch", rows
    assert outer["type"] in ("ref", "range"), rows
    assert "filesort" not in json.dumps(rows), rows


def _explained_mysql(sql: str, params: Any) -> list[dict[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {sql}", params)
        names = [column[0].lower() for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _flat_sqlite(sql: str, params: Any) -> None:
    lines = [row[3] for row in _explain("EXPLAIN QUERY PLAN", sql, params)]
    assert [line for line in lines if " async_job USING" in line and "_to_fetch" in line], lines
    assert not any("TEMP B-TREE" in line for line in lines), lines


def test_a_page_costs_as_many_statements_however_long_the_backlog_is() -> None:
    reads = fetch.Fetch("default", fetch.bounds("default"), fetch.Selection())
    sent: list[str] = []
    with each_statement(lambda sql, params: sent.append(sql)):
        page = reads.page(None, PAGE)
        first = len(sent)
        assert len(reads.page(page[-1], PAGE)) == PAGE
    assert first <= 2
    assert len(sent) - first <= 3


def test_one_job_is_claimed_and_marked_by_its_key(flush: Callable[..., Any]) -> None:
    seen = 0

    def see(sql: str, params: Any) -> None:
        nonlocal seen
        if "async_job" in sql and "WHERE id = %s" in sql:
            seen += 1
            assert_by_key(sql, params)

    with each_statement(see):
        flush(jobs=1)
    assert seen >= 2


def assert_by_key(sql: str, params: Any) -> None:
    if connection.vendor == "postgresql":
        [[[plan]]] = _explain("EXPLAIN (FORMAT JSON)", sql, params)
        indexes = {node["Index Name"] for node in _nodes(plan["Plan"]) if "Index Name" in node}
        assert indexes == {"async_job_pkey"}, plan
    elif connection.vendor == "mysql":
        assert "PRIMARY" in repr(_explain("EXPLAIN", sql, params))
    else:
        assert "INTEGER PRIMARY KEY (rowid=?)" in repr(_explain("EXPLAIN QUERY PLAN", sql, params))


def test_a_glance_reads_no_further_than_what_has_come() -> None:
    seen = fetch.bounds("default")
    reads = fetch.Fetch("default", None, fetch.Selection())
    wanted = [FROM_AN_ID_ON, BETWEEN_TWO_TIMES]
    with each_statement(lambda sql, params: assert_reads(wanted.pop(0), sql, params)):
        reads.since(fetch.Bounds(seen.until, seen.last_id - PAGE), [0, 1, 2], PAGE)
    assert not wanted


FROM_AN_ID_ON = {
    "postgresql": ("async_job_pkey", r"\(id > "),
    "mysql": ("PRIMARY", "range"),
    "sqlite": ("INTEGER PRIMARY KEY", "(rowid>?)"),
}
BETWEEN_TWO_TIMES = {
    "postgresql": ("async_job_to_fetch", r"\(priority = ANY .* AND \(scheduled > "),
    "mysql": ("async_job_to_fetch", "range"),
    "sqlite": ("async_job_to_fetch", "(priority=? AND scheduled>? AND scheduled<?)"),
}
"""The index that is read, and how, in the words of each database."""


def assert_reads(wanted: dict[str, tuple[str, str]], sql: str, params: Any) -> None:
    index, how = wanted[connection.vendor]
    if connection.vendor == "postgresql":
        assert_index(index, how, sql, params)
    elif connection.vendor == "mysql":
        [outer] = [row for row in _explained_mysql(sql, params) if row["table"] == "async_job"]
        assert (outer["key"], outer["type"]) == (index, how)
    else:
        assert f"{index} {how}" in repr(_explain("EXPLAIN QUERY PLAN", sql, params))


def assert_index(name: str, condition: str, sql: str, params: Any) -> None:
    [[[plan]]] = _explain("EXPLAIN (FORMAT JSON)", sql, params)
    nodes = list(_nodes(plan["Plan"]))
    [scan] = [node for node in nodes if "Index Name" in node]
    assert scan["Index Name"] == name, plan
    assert re.search(condition, scan["Index Cond"]), plan
    assert not any(node["Node Type"] == "Seq Scan" for node in nodes), plan
