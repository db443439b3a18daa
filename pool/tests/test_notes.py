"""What children tell their parent, and what becomes of it."""

import os
import signal
import threading
import time
from typing import Any

import pytest

from forkpool import (
    Ended,
    ForkPool,
    NotPicklable,
    TaskRaised,
    TimeLimitExceeded,
    WorkerDied,
    notes,
    retire,
    tell_parent,
)
from forkpool.channel import Channel

FOREVER = 100_000.0  # seconds


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def tell_and_die(*told: Any) -> None:
    for note in told:
        tell_parent(note)
    die()


def note_of(ended: Ended) -> Any:
    assert isinstance(ended.error, WorkerDied)
    return ended.error.note


def test_the_latest_note_stands_in_the_death(waiting: Any) -> None:
    with ForkPool(1) as pool:
        assert note_of(waiting.run(pool, tell_and_die, 1, {"session": 2})) == {"session": 2}


def test_without_a_note_there_is_none(waiting: Any) -> None:
    with ForkPool(1) as pool:
        assert note_of(waiting.run(pool, die)) is None


def test_a_note_stands_until_the_next_one(waiting: Any) -> None:
    """Also one of the initializer, and one of an earlier task; each worker has its own."""
    with ForkPool(1, initializer=lambda: tell_parent(("child", os.getpid()))) as pool:
        ended = waiting.run(pool, die)
        assert note_of(ended) == ("child", ended.pid)
        waiting.run(pool, tell_parent, "of an earlier task")
        assert note_of(waiting.run(pool, die)) == "of an earlier task"
        ended = waiting.run(pool, die)
        assert note_of(ended) == ("child", ended.pid)


def test_many_and_large_notes_keep_pace(waiting: Any) -> None:
    told = [bytes(100_000), *range(5000)]
    with ForkPool(1) as pool:
        assert note_of(waiting.run(pool, tell_and_die, *told)) == 4999
        assert len(note_of(waiting.run(pool, tell_and_die, bytes(1_000_000)))) == 1_000_000


def tell_and_wait(note: Any) -> None:
    tell_parent(note)
    time.sleep(FOREVER)


def test_a_time_limit_brings_the_note(waiting: Any, clock: Any) -> None:
    with ForkPool(1) as pool:
        waiting.idle(pool)
        pool.submit(tell_and_wait, 7, time_limit=FOREVER)
        waiting.readable(pool._crew.workers[0].channel)
        clock.put_forward(FOREVER)
        (ended,) = waiting.ends(pool, 1)
        assert isinstance(ended.error, TimeLimitExceeded)
        assert ended.error.note == 7


def tell_later(gate: Any) -> None:
    def tell() -> None:
        gate.pass_through()
        tell_parent("from a thread")

    threading.Thread(target=tell, daemon=True).start()


def test_a_note_of_an_idle_child_does_not_make_it_twice_idle(waiting: Any, gate: Any) -> None:
    with ForkPool(1) as pool:
        waiting.run(pool, tell_later, gate)
        gate.open()
        waiting.readable(pool._crew.workers[0].channel)
        assert pool.wait(0) == []
        assert pool.idle == 1
        assert note_of(waiting.run(pool, die)) == "from a thread"


def tell_from_all_threads(count: int) -> str:
    def tell() -> None:
        for number in range(200):
            tell_parent(number)

    threads = [threading.Thread(target=tell) for _ in range(count)]
    for thread in threads:
        thread.start()
    tell()
    for thread in threads:
        thread.join()
    return "told"


def test_threads_do_not_mix_their_notes(waiting: Any) -> None:
    with ForkPool(1) as pool:
        assert waiting.run(pool, tell_from_all_threads, 4).value == "told"
        assert note_of(waiting.run(pool, die)) == 199


def tell_in_a_copy() -> None:
    pid = os.fork()
    if pid == 0:
        tell_parent("from a copy")
        os._exit(0)
    os.waitpid(pid, 0)
    die()


def test_a_process_that_a_task_forked_tells_nothing(waiting: Any) -> None:
    with ForkPool(1) as pool:
        assert note_of(waiting.run(pool, tell_in_a_copy)) is None


def test_elsewhere_it_does_nothing() -> None:
    tell_parent("nobody listens")


class OnlyHere:
    def __init__(self, pid: int) -> None:
        if pid != os.getpid():
            raise SystemExit("not here")
        self.pid = pid

    def __reduce__(self) -> tuple[Any, ...]:
        return OnlyHere, (self.pid,)


def tell_what_exists_here_only() -> None:
    tell_parent(OnlyHere(os.getpid()))


def test_a_note_that_cannot_be_rebuilt_harms_nobody(waiting: Any) -> None:
    with ForkPool(1) as pool:
        assert waiting.run(pool, tell_what_exists_here_only).error is None
        note = note_of(waiting.run(pool, die))
        assert isinstance(note, NotPicklable)
        assert "not here" in str(note)


def tell_a_generator() -> None:
    tell_parent(letter for letter in "abc")


def test_a_note_that_cannot_be_sent_is_refused(waiting: Any) -> None:
    with ForkPool(1) as pool:
        error = waiting.run(pool, tell_a_generator).error
        assert isinstance(error, TaskRaised)
        assert isinstance(error.original, NotPicklable)


def test_half_a_note_is_the_last_thing_that_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception of a handler came in between, as it may where a task has threads."""

    class Interrupted(Channel):
        def send(self, message: bytes) -> None:
            super().send(message[:3])
            raise KeyboardInterrupt

    ours, theirs = Interrupted.pair()
    monkeypatch.setattr(notes, "_lines", [(os.getpid(), theirs)])
    with pytest.raises(KeyboardInterrupt):
        tell_parent("a note")
    assert theirs.fileno() == -1
    assert ours.arrived() == [b"\x80\x05\x95"]
    assert ours.rest() == []
    ours.close()


def test_a_parent_that_is_gone_is_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = Channel.pair()
    monkeypatch.setattr(notes, "_lines", [(os.getpid(), theirs)])
    ours.close()
    tell_parent("a note")
    theirs.close()


def retire_in_a_copy() -> int:
    if not (copy := os.fork()):
        retire()
        os._exit(int(notes.is_retiring()))
    return os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1])


def test_a_task_may_have_its_process_replaced_after_it(waiting: Any) -> None:
    with ForkPool(1) as pool:
        ended = waiting.run(pool, retire)
        assert ended.error is None
        assert waiting.run(pool, os.getpid).value != ended.pid
        pid = waiting.run(pool, os.getpid).pid
        assert waiting.run(pool, retire_in_a_copy).value == 0
        assert waiting.run(pool, os.getpid).value == pid


def test_outside_of_a_child_nobody_retires() -> None:
    retire()
    assert not notes.is_retiring()
