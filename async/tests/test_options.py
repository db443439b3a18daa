"""Options of the commands that cannot be meant are refused before anything is done.

Most tests are without a database: they would fail on a query.
"""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command

from django_async import schedule
from suite.jobs import nothing
from suite.processes import manage
from suite.together import DEADLINE

LONG = "q" * 101


@pytest.mark.parametrize(
    "option",
    [
        "--workers=-1",
        "--workers=many",
        "--workers=1.5",
        "--jobs=0",
        "--jobs=-3",
        "--outof=0",
        "--which=x",
        "--queue=",
        "--max-jobs-per-worker=0",
        "--unknown",
    ],
)
def test_a_wrong_option_is_refused(option: str) -> None:
    with pytest.raises(CommandError):
        call_command("flush_queue", option)


@pytest.mark.parametrize(
    "option", ["--max-jobs-per-worker=5", "--max-memory-per-worker=1G", "--memory-limit=1G"]
)
@pytest.mark.parametrize("workers", [[], ["--workers=0"]])
def test_what_is_said_of_workers_needs_some(option: str, workers: list[str]) -> None:
    name = option.partition("=")[0]
    with pytest.raises(CommandError, match=f"^{name} .* needs --workers N") as refused:
        call_command("flush_queue", option, *workers)
    assert refused.value.returncode == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--which=1"], "needs --outof"),
        (["--which=4", "--outof=3"], "4 is none of the shares of --outof 3"),
        (["--which=-1", "--outof=3"], "-1 is none of the shares of --outof 3"),
        (["--which=-1"], "needs --outof"),
        (["--reload"], "needs --forever"),
        (["--liveness-file=alive"], "needs --forever"),
    ],
)
def test_what_needs_another_option_or_is_no_share_is_refused(
    options: list[str], message: str
) -> None:
    with pytest.raises(CommandError, match=message) as refused:
        call_command("flush_queue", *options)
    assert refused.value.returncode == 2


@pytest.mark.django_db
@pytest.mark.parametrize("which", [0, 3])
def test_shares_are_counted_from_0_or_from_1(
    which: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in 0.7.3: the last one of those that are counted from 1 is the one of 0."""
    ids = [schedule(nothing).pk for _ in range(6)]
    call_command("flush_queue", f"--which={which}", "--outof=3", "-v2")
    lines = capsys.readouterr().out
    assert lines.count("suite.jobs.nothing") == sum(one % 3 == 0 for one in ids) == 2


@pytest.mark.parametrize(
    "command", ["pause_queue", "resume_queue", "flush_queue --queue", "jobs --queue"]
)
@pytest.mark.parametrize(
    ("name", "message"),
    [(LONG, "101 characters, and 100 fit"), ("", "not empty"), ("a\udcff", "no database holds")],
)
def test_what_is_no_name_of_a_queue_is_refused(command: str, name: str, message: str) -> None:
    with pytest.raises(CommandError, match=message):
        call_command(*command.split(), name)


@pytest.mark.parametrize("command", ["flush_queue", "queue_health", "pause_queue --all", "jobs"])
@pytest.mark.parametrize("alias", ["", "elsewhere"])
def test_a_database_that_is_none_is_refused(command: str, alias: str) -> None:
    """An empty name is no word for the queue's own: it may come from a variable that is not set."""
    with pytest.raises(CommandError, match=f"no database '{alias}'"):
        call_command(*command.split(), f"--database={alias}")


@pytest.mark.django_db(transaction=True)
def test_a_refusal_is_a_line_and_an_exit_status() -> None:
    for arguments in (["flush_queue", "--memory-limit=1G"], ["pause_queue", LONG]):
        with manage(*arguments) as process:
            _, complaint = process.communicate(timeout=DEADLINE)
        assert process.returncode == 2
        assert "Traceback" not in complaint
