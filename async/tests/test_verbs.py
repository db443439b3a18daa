"""``manage.py jobs``, ``retry`` and ``cancel``: what an operator does at a terminal."""

from __future__ import annotations

import io
import json
import re
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_async import clock, schedule
from django_async.api import schedule_many
from django_async.control import Run
from django_async.groups import Group
from django_async.management import latest
from django_async.models import Job, Parent
from suite import costs
from suite.jobs import fail, note, nothing
from suite.shown import living
from suite.spying import each_statement

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)
Output = pytest.CaptureFixture[str]


def ids(output: str) -> list[int]:
    return [json.loads(line)["id"] for line in output.splitlines()]


def listed(capsys: Output, *arguments: Any) -> list[int]:
    call_command("jobs", *map(str, arguments), "--json")
    return ids(capsys.readouterr().out)


def ended(state: str) -> Job:
    job = schedule(note)
    now = clock.now("default")
    Job.objects.filter(pk=job.pk).update(**{state: now, "started": now})
    return job


def test_jobs_are_listed_the_latest_first_in_columns(capsys: Output) -> None:
    first = schedule(note, ["a"], priority=7)
    second = schedule(fail, run_after=HOUR, queue="slow")
    call_command("jobs")
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == [
        *("id", "state", "priority", "queue", "attempts", "scheduled", "process", "call")
    ]
    assert [row.split()[:4] for row in rows] == [
        [str(second.pk), "scheduled", "5", "slow"],
        [str(first.pk), "due", "7", "default"],
    ]
    assert rows[1].endswith("suite.jobs.note('a')")


def test_for_machines_each_job_is_an_object(capsys: Output) -> None:
    job = schedule(note, ["a"], meta={"max_attempts": 3})
    call_command("jobs", "--json")
    row = json.loads(capsys.readouterr().out)
    assert (row["id"], row["state"], row["name"]) == (job.pk, "due", "suite.jobs.note")
    assert (row["args"], row["kwargs"], row["meta"]["max_attempts"]) == (["a"], {}, 3)
    assert (row["executed"], row["queue"]) == (None, "default")


def test_jobs_are_chosen_by_what_they_have_in_common(capsys: Output) -> None:
    group = Group.objects.create(reference="report")
    member, slow = schedule(nothing), schedule(note, queue="slow", run_after=HOUR)
    Job.objects.filter(pk=member.pk).update(group=group)
    executed, cancelled = ended("executed"), ended("cancelled")
    assert listed(capsys, "--state", "pending") == [slow.pk, member.pk]
    assert listed(capsys, "--state", "scheduled") == [slow.pk]
    assert listed(capsys, "--state", "due") == [member.pk]
    assert listed(capsys, "--state", "executed") == [executed.pk]
    assert listed(capsys, "--queue", "slow") == [slow.pk]
    assert listed(capsys, "--group", "report") == [member.pk]
    assert listed(capsys, "--name", "suite.jobs.note") == [cancelled.pk, executed.pk, slow.pk]
    assert listed(capsys, "--name", "suite.jobs.note", "--state", "cancelled") == [cancelled.pk]
    assert listed(capsys, member.pk, slow.pk) == [slow.pk, member.pk]
    assert listed(capsys, "--state", "running") == []


@pytest.mark.parametrize("is_atomic", [True, False])
def test_what_runs_is_said_to_run_and_where_however_it_runs(
    is_atomic: bool, capsys: Output
) -> None:
    job, other = schedule(note), schedule(nothing)
    if not is_atomic:
        Job.objects.filter(pk=job.pk).update(started=clock.now("default"))
    with living(Run(job.pk, 1, 4711, 30.0)):
        host = Parent.objects.get().host
        assert listed(capsys, "--state", "running") == [job.pk]
        call_command("jobs", "--json")
        rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        call_command("jobs", "--state", "running")
        [_, line] = capsys.readouterr().out.splitlines()
    assert [(row["id"], row["state"], row["host"], row["pid"]) for row in rows] == [
        (other.pk, "due", None, None),
        (job.pk, "running", host, 4711),
    ]
    assert line.split()[:2] == [str(job.pk), "running"]
    assert line.endswith(f"{host} 4711  suite.jobs.note()")


def test_a_job_that_has_ended_since_it_was_looked_up_is_not_said_to_run(capsys: Output) -> None:
    job, now = schedule(note), clock.now("default")

    def end(sql: str, _: Any) -> None:
        if "async_job" in sql and "attempts" in sql:
            Job.objects.filter(pk=job.pk).update(started=now, executed=now)

    with living(Run(job.pk, 1, 4711, 30.0)), each_statement(end):
        call_command("jobs", "--json")
    assert json.loads(capsys.readouterr().out)["state"] == "executed"


@pytest.mark.parametrize("arguments", [(), ("--json",), ("--state", "running")])
def test_what_runs_is_looked_up_once(arguments: tuple[str, ...], capsys: Output) -> None:
    jobs = [schedule(nothing) for _ in range(5)]
    with (
        living(*(Run(job.pk, 1, 4711, 30.0) for job in jobs)),
        CaptureQueriesContext(connection) as seen,
    ):
        call_command("jobs", *arguments)
    assert capsys.readouterr().out.count("running") == 5
    assert sum("async_parent" in query["sql"] for query in seen) == 1
    assert len(seen) < 10


def test_of_arguments_the_beginning_is_read_for_people_and_all_for_machines(
    capsys: Output,
) -> None:
    long = schedule(note, ["a" * 1_000_000])
    schedule(note, ["b"], {"key": "c" * 1_000_000})
    seen: list[str] = []
    with each_statement(lambda sql, _: seen.append(sql)):
        call_command("jobs")
        _, second, first = capsys.readouterr().out.splitlines()
        call_command("jobs", str(long.pk), "--json")
    assert re.search(r'suite\.jobs\.note\("a+…$', first)
    assert 'suite.jobs.note("b"], "key": "ccc' in second
    assert json.loads(capsys.readouterr().out)["args"] == ["a" * 1_000_000]
    short, whole = (sql for sql in seen if "attempts" in sql)
    for column in ("args", "kwargs", "meta", "result"):
        named = re.findall(rf"(\w*\(?).async_job.\..{column}.", short)
        assert [word.upper() for word in named] in ([], ["LEFT("], ["SUBSTR("])
        assert (column in whole) is (column != "result")


CHOICES = [
    (),
    ("--state", "due"),
    ("--state", "failed"),
    ("--state", "scheduled", "--name", "suite.jobs.note"),
    ("--state", "pending", "--queue", "none"),
    ("--state", "discarded", "--name", "none"),
    ("--state", "cancelled"),
    ("--group", "report"),
]


@pytest.mark.parametrize("arguments", CHOICES, ids=" ".join)
def test_however_many_jobs_are_done_as_many_rows_are_read(
    arguments: tuple[str, ...], capsys: Output
) -> None:
    schedule_many({"function": nothing, "group": "report"} for _ in range(30))
    schedule_many({"function": note, "run_after": HOUR} for _ in range(30))
    for state in ("discarded", "cancelled"):
        ended(state)
    costs_so_far = []
    for number in (300, 2700):
        schedule_many(
            {"function": nothing, "args": ["x" * 1500], "queue": "done"} for _ in range(number)
        )
        now = clock.now("default")
        Job.objects.filter(queue="done").update(executed=now, started=now, attempts=1)
        costs.analyse()
        costs_so_far.append(costs.cost(lambda: call_command("jobs", "--limit", "10", *arguments)))
    assert costs_so_far[1] < 2 * costs_so_far[0] + 100


@pytest.mark.parametrize("few", [0, 10_000])
def test_a_state_of_many_jobs_is_listed_like_one_of_few(
    few: int, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setattr(latest, "FEW", few)
    monkeypatch.setattr(latest, "CHUNK", 2)
    jobs = [schedule(note, [n], priority=n % 3, run_after=n % 2 * HOUR) for n in range(9)]
    ids = [job.pk for job in reversed(jobs)]
    gone = [ended("discarded").pk for _ in range(3)][::-1]
    assert listed(capsys, "--state", "pending") == ids
    assert listed(capsys, "--state", "pending", "--limit", "4") == ids[:4]
    assert listed(capsys, "--state", "due") == ids[::2]
    assert listed(capsys, "--state", "scheduled", "--limit", "3") == ids[1:7:2]
    assert listed(capsys, "--state", "discarded") == gone
    assert listed(capsys, "--limit", "5") == (gone + ids)[:5]


def test_no_more_than_the_limit_are_read_and_it_says_that_there_are_more(capsys: Output) -> None:
    for _ in range(4):
        schedule(nothing)
    call_command("jobs", "--limit", "3", "--json")
    shown = capsys.readouterr()
    assert len(ids(shown.out)) == 3
    assert "more than 3" in shown.err


def test_nothing_that_a_job_brings_along_breaks_a_line(capsys: Output) -> None:
    schedule(note, ["a\nb\x1b[31m\u202e" + "x" * 500])
    Job.objects.update(queue="q\n\x07", args="[broken")
    call_command("jobs")
    output = capsys.readouterr().out
    assert len(output.splitlines()) == 2
    assert not set("\x1b\x07\u202e") & set(output)
    assert max(map(len, output.splitlines())) < 150


def test_jobs_are_tried_again(capsys: Output) -> None:
    discarded, executed = ended("discarded"), ended("executed")
    call_command("retry", str(discarded.pk), str(executed.pk))
    assert capsys.readouterr().out == "Retry: 1 changed, 1 left alone: executed.\n"
    discarded.refresh_from_db()
    assert discarded in Job.objects.due()


def test_jobs_are_cancelled(capsys: Output) -> None:
    job, other = schedule(note), schedule(nothing)
    call_command("cancel", "--name", "suite.jobs.note", "--no-input", "--json")
    assert json.loads(capsys.readouterr().out) == {"changed": 1, "asked": 0, "left_alone": {}}
    job.refresh_from_db()
    other.refresh_from_db()
    assert (job.state, other.state) == ("cancelled", "due")


@pytest.mark.parametrize("answer", ["y", "YES ", "", "n", "what"])
def test_before_it_changes_what_was_not_named_one_by_one_it_asks(
    answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def reply(question: str) -> str:
        asked.append(question)
        return answer

    monkeypatch.setattr("builtins.input", reply)
    job = schedule(nothing)
    if answer.strip().lower() in ("y", "yes"):
        call_command("cancel", "--all")
    else:
        with pytest.raises(CommandError, match="Nothing was done") as refused:
            call_command("cancel", "--all")
        assert refused.value.returncode == 1
    assert asked == ["Cancel 1 jobs? [y/N] "]
    job.refresh_from_db()
    assert (job.state == "cancelled") is (answer in ("y", "YES "))


def test_where_nobody_can_answer_it_says_so_and_does_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    schedule(note)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(CommandError, match="--no-input") as raised:
        call_command("cancel", "--all")
    assert raised.value.returncode == 1
    assert not Job.objects.cancelled().exists()


def test_to_have_changed_nothing_is_status_1() -> None:
    job = ended("executed")
    with pytest.raises(CommandError, match="Nothing was done") as refused:
        call_command("retry", str(job.pk))
    assert refused.value.returncode == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["jobs", "seven"], "'seven' is not the id of a job"),
        (["jobs", "-1"], "-1"),
        (["jobs", str(1 << 63)], "is not the id of a job"),
        (["jobs", "--state", "sleeping"], "invalid choice: 'sleeping'"),
        (["jobs", "--limit", "0"], "--limit"),
        (["jobs", "--database", "nowhere"], "no database 'nowhere'"),
        (["retry"], "Say which jobs are meant, or give --all"),
        (["cancel", "--all", "--queue", "slow"], "one of the two"),
    ],
)
def test_bad_input_is_refused_with_words(arguments: list[str], complaint: str) -> None:
    schedule(nothing)
    with pytest.raises(CommandError, match=complaint):
        call_command(*arguments)
    assert Job.objects.due().count() == 1
