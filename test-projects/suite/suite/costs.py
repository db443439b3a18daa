"""What a call makes the database do, so that tests can compare it without a clock."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from django.db import connection

from suite.spying import each_statement


def analyse() -> None:
    """Have the database count its rows, as it does by itself from time to time."""
    sql = {"mysql": "ANALYZE TABLE async_job, async_group, async_error, async_statistic"}
    with connection.cursor() as cursor:
        cursor.execute(sql.get(connection.vendor, "ANALYZE"))


def cost(call: Callable[[], object]) -> int:
    """The rows that the call's statements read; on SQLite, the steps of its engine in hundreds."""
    return {"postgresql": _postgresql, "mysql": _mysql, "sqlite": _sqlite}[connection.vendor](call)


def _postgresql(call: Callable[[], object]) -> int:
    plans: list[dict[str, Any]] = []

    def explain(sql: str, params: Any) -> None:
        if sql.startswith("SELECT"):
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", params)
                [[found]] = cursor.fetchall()
                plans.append((json.loads(found) if isinstance(found, str) else found)[0]["Plan"])

    with each_statement(explain):
        call()
    return sum(_rows(node) for plan in plans for node in _scans(plan))


def _scans(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "Relation Name" in node:
        yield node
    for child in node.get("Plans", []):
        yield from _scans(child)


def _rows(scan: dict[str, Any]) -> int:
    """Those that it gave, and those that it read in vain."""
    seen = scan["Actual Rows"] + scan.get("Rows Removed by Filter", 0)
    return int(seen * scan["Actual Loops"])


def _mysql(call: Callable[[], object]) -> int:
    before = _handler_reads()
    call()
    return _handler_reads() - before


def _handler_reads() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
        return sum(int(value) for name, value in cursor.fetchall() if name != "Handler_read_rnd")


def _sqlite(call: Callable[[], object]) -> int:
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    connection.ensure_connection()
    connection.connection.set_progress_handler(step, 100)
    try:
        call()
    finally:
        connection.connection.set_progress_handler(None, 0)
    return steps
