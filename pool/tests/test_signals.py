"""Signals are noted, and everything is put back."""

import os
import select
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

from forkpool import ForkPool, InlinePool, StopSignals, TaskRaised


def raise_signal(signum: int) -> None:
    os.kill(os.getpid(), signum)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_only_noted(waiting: Any, signum: int) -> None:
    with StopSignals() as signals:
        assert (signals.count, signals.signum) == (0, None)
        raise_signal(signum)
        waiting.readable(signals)
        assert (signals.count, signals.signum) == (1, signum)


def test_drain_makes_room_for_the_next_one(waiting: Any) -> None:
    with StopSignals() as signals, ForkPool(1, wakeup=signals.fileno()) as pool:
        waiting.idle(pool)
        for count in (1, 2):
            raise_signal(signal.SIGTERM)
            assert pool.wait(None) == []
            assert signals.count == count
            signals.drain()
            assert select.select([signals], [], [], 0) == ([], [], [])


def test_the_second_and_each_later_signal_may_interrupt() -> None:
    seen: list[int] = []
    with StopSignals(on_second=seen.append):
        raise_signal(signal.SIGINT)
        assert seen == []
        raise_signal(signal.SIGTERM)
        raise_signal(signal.SIGINT)
    assert seen == [signal.SIGTERM, signal.SIGINT]


def test_an_inline_task_is_interrupted() -> None:
    def interrupt(signum: int) -> None:
        raise KeyboardInterrupt

    def task() -> str:
        for _ in range(2):
            raise_signal(signal.SIGINT)
        return "not reached"

    with StopSignals(on_second=interrupt) as signals, InlinePool() as pool:
        pool.submit(task)
        (ended,) = pool.wait(0)
        assert isinstance(ended.error, TaskRaised)
        assert isinstance(ended.error.original, KeyboardInterrupt)
        assert signals.count == 2


def test_handlers_and_wakeup_are_put_back() -> None:
    def mine(signum: int, frame: Any) -> None:
        raise AssertionError

    before = signal.signal(signal.SIGTERM, mine)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    wakeup = signal.set_wakeup_fd(writer)
    try:
        interrupt = signal.getsignal(signal.SIGINT)
        with StopSignals():
            assert signal.getsignal(signal.SIGTERM) is not mine
        assert signal.getsignal(signal.SIGTERM) is mine
        assert signal.getsignal(signal.SIGINT) is interrupt
        assert signal.set_wakeup_fd(wakeup) == writer
    finally:
        signal.signal(signal.SIGTERM, before)
        os.close(reader)
        os.close(writer)


def test_a_handler_that_python_did_not_install_becomes_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[tuple[int, Any]] = []

    def set_handler(signum: int, handler: Callable[..., None]) -> None:
        calls.append((signum, handler))

    monkeypatch.setattr(signal, "signal", set_handler)
    with StopSignals():
        calls.clear()
    assert calls == [(signal.SIGINT, signal.SIG_DFL), (signal.SIGTERM, signal.SIG_DFL)]


def test_other_threads_install_nothing() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[Any] = []

    def enter() -> None:
        with StopSignals() as signals:
            signals.drain()
            seen.extend([signals.count, signals.fileno() >= 0, signal.getsignal(signal.SIGTERM)])

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join(60)
    assert seen == [0, True, before]
