"""Signals are noted, and everything is put back."""

import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from forkpool import ForkPool, InlinePool, StopSignals, TaskRaised


@pytest.fixture(autouse=True)
def _hangups_are_heard() -> Iterator[None]:
    """Also where the tests run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def raise_signal(signum: int) -> None:
    os.kill(os.getpid(), signum)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
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


def test_each_signal_counts_that_comes_while_python_is_deaf() -> None:
    """Its handler is called once for all of them."""
    seen: list[int] = []
    with StopSignals(on_second=seen.append) as signals:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        handler = signal.getsignal(signal.SIGTERM)
        assert callable(handler)
        for _ in range(2):  # as the wake-up descriptor is told
            signals._writer.send(bytes([signal.SIGTERM]))
        handler(signal.SIGTERM, None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        assert seen == [signal.SIGTERM]
        assert signals.count == 1
        signals.drain()
        assert signals.count == 2


def test_sigquit_counts_as_two_signals(waiting: Any) -> None:
    seen: list[int] = []
    with StopSignals(on_second=seen.append) as signals:
        raise_signal(signal.SIGQUIT)
        waiting.readable(signals)
        assert (signals.count, signals.signum) == (2, signal.SIGQUIT)
    assert seen == [signal.SIGQUIT]


def test_hangups_may_be_counted_apart(waiting: Any) -> None:
    """They stop nothing, and wake whoever waits."""
    seen: list[int] = []
    with (
        StopSignals(on_second=seen.append, hangups=True) as signals,
        ForkPool(1, wakeup=signals.fileno()) as pool,
    ):
        waiting.idle(pool)
        for hangups in (1, 2):
            raise_signal(signal.SIGHUP)
            assert pool.wait(None) == []
            assert (signals.hangups, signals.count, signals.signum) == (hangups, 0, None)
            signals.drain()
        raise_signal(signal.SIGTERM)
        assert (signals.hangups, signals.count, signals.signum) == (2, 1, signal.SIGTERM)
    assert seen == []


def test_a_hangup_that_is_not_counted_apart_is_no_hangup() -> None:
    with StopSignals() as signals:
        raise_signal(signal.SIGHUP)
        assert (signals.hangups, signals.count) == (0, 1)


@pytest.mark.parametrize(("hangups", "counted"), [(False, 0), (True, 1)])
def test_what_nohup_ignores_stays_ignored_unless_somebody_wants_it(
    hangups: bool, counted: int
) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals(hangups=hangups) as signals:
            raise_signal(signal.SIGHUP)
            assert (signals.hangups, signals.count) == (counted, 0)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


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
    stopping = [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM]
    assert calls == [(signum, signal.SIG_DFL) for signum in stopping]


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
