"""Interrupts: of exactly one task, where it allows it, and nowhere else."""

import itertools
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from forkpool import (
    Ended,
    ForkPool,
    TaskInterrupted,
    TaskRaised,
    TaskTimeout,
    TimeLimitExceeded,
    WorkerDied,
    WorkerInterrupted,
    interruptible,
    interrupts,
    limits,
    soft_time_limit,
    tell_parent,
    was_interrupted,
)
from forkpool.blocks import disarm
from forkpool.board import Slot

FOREVER = 100_000.0  # seconds
DEADLINE = 60.0  # seconds
Task = Callable[..., Any]


def spin() -> None:
    while True:
        with suppress(Exception):
            while True:
                pass


def sleep() -> None:
    time.sleep(FOREVER)


def match_for_ever() -> None:
    re.match("(a+)+$", "a" * 60 + "b")


def in_region(note: str, function: Task, *args: Any) -> Any:
    """The task: says that it is there, within the block."""
    with interruptible():
        Path(note).touch()
        return function(*args)


def send_back(value: Any) -> Any:
    return value


class Case:
    """A pool with one worker, and a task in it that has come to a certain point."""

    def __init__(self, pool: ForkPool, waiting: Any, note: Path) -> None:
        self.pool = pool
        self.waiting = waiting
        self.note = note

    def start(self, task: Task, *args: Any, **limits: float) -> int:
        """Hand out a task that touches a note, wait for that, and return the task's number."""
        self.waiting.idle(self.pool)
        self.note.unlink(missing_ok=True)
        number = self.pool.submit(task, str(self.note), *args, **limits).number
        self.waiting.until(self.note.exists)
        return number

    def end(self) -> Ended:
        ends: list[Ended] = self.waiting.ends(self.pool, 1)
        return ends[0]

    def run_interrupted(self, task: Task = in_region, *args: Any) -> BaseException | None:
        """What a task in a block ends with, if it is interrupted there."""
        assert self.pool.interrupt(self.start(task, *(args or (sleep,))))
        return original(self.end())


def original(ended: Ended) -> BaseException | None:
    assert isinstance(ended.error, TaskRaised)
    return ended.error.original


@pytest.fixture
def case(waiting: Any, tmp_path: Path) -> Iterator[Case]:
    pool = ForkPool(1, grace=FOREVER)
    pool.start()
    yield Case(pool, waiting, tmp_path / "note")
    pool.shutdown(DEADLINE)  # a task that hangs after a failure must not keep it


@pytest.mark.parametrize("function", [spin, sleep, match_for_ever])
def test_the_task_is_interrupted_and_its_process_goes_on(case: Case, function: Task) -> None:
    pids = case.pool.pids
    number = case.start(in_region, function)
    assert case.pool.interrupt(number)
    ended = case.end()
    assert isinstance(original(ended), TaskInterrupted)
    assert ended.task.number == number
    assert isinstance(ended.error, TaskRaised)
    assert "in in_region" in ended.error.traceback
    assert [case.waiting.run(case.pool, os.getpid).value] == pids
    assert isinstance(case.run_interrupted(), TaskInterrupted)
    assert case.pool.pids == pids


def enter_later(note: str, gate: Any) -> str:
    Path(note).touch()
    gate.pass_through()
    try:
        with interruptible():
            return "entered"
    except TaskInterrupted:
        return "struck at the entry"


def test_an_interrupt_before_the_block_strikes_at_its_entry(case: Case, gate: Any) -> None:
    with ForkPool(1) as pool:  # which knows the gate
        case.pool = pool
        assert pool.interrupt(case.start(enter_later, gate))
        gate.open()
        assert case.end().value == "struck at the entry"


def test_an_interrupt_before_the_task_has_been_read_strikes_at_the_entry(
    case: Case, tmp_path: Path
) -> None:
    case.waiting.idle(case.pool)
    large = bytes(50_000_000)
    task = case.pool.submit(in_region, str(tmp_path / "entered"), send_back, large)
    assert case.pool.interrupt(task.number)
    assert isinstance(original(case.end()), TaskInterrupted)
    assert not (tmp_path / "entered").exists()


def leave_and_wait(note: str, gate: Any) -> str:
    with interruptible():
        pass
    Path(note).touch()
    gate.pass_through()
    return "undisturbed"


def wait_without_a_block(note: str, gate: Any) -> str:
    Path(note).touch()
    gate.pass_through()
    return "undisturbed"


@pytest.mark.parametrize("task", [leave_and_wait, wait_without_a_block])
def test_outside_of_blocks_nothing_is_interrupted(
    waiting: Any, clock: Any, gate: Any, tmp_path: Path, task: Task
) -> None:
    """Nor is the process ended after the grace."""
    with ForkPool(1, grace=FOREVER) as pool:
        case = Case(pool, waiting, tmp_path / "note")
        number = case.start(task, gate)
        for _ in range(3):
            assert pool.interrupt(number)
            clock.put_forward(2 * FOREVER)
            assert pool.wait(0) == []
        gate.open()
        ended = case.end()
        assert (ended.value, ended.pid) == ("undisturbed", pool.pids[0])


@pytest.mark.parametrize("task", [leave_and_wait, wait_without_a_block])
def test_with_a_patience_a_task_is_ended_after_it_wherever_it_is(
    waiting: Any, clock: Any, gate: Any, tmp_path: Path, task: Task
) -> None:
    with ForkPool(1, grace=FOREVER, patience=3 * FOREVER) as pool:
        case = Case(pool, waiting, tmp_path / "note")
        assert pool.interrupt(case.start(task, gate))
        for _ in range(2):
            clock.put_forward(FOREVER)
            assert pool.wait(0) == []
            assert not pool._crew.workers[0].overdue
        clock.put_forward(FOREVER)
        assert interrupted(case.end()).exitcode == -signal.SIGTERM
        assert case.waiting.run(pool, send_back, 1).value == 1


def test_a_task_that_has_ended_unseen_leaves_the_next_one_alone(case: Case) -> None:
    number = case.start(in_region, send_back, 1)
    case.waiting.readable(case.pool._crew.workers[0].channel)
    assert case.pool.interrupt(number)  # as far as the pool knows
    assert case.end().value == 1
    assert case.waiting.run(case.pool, in_region, str(case.note), send_back, 2).value == 2
    assert not case.pool.interrupt(number)


def test_a_signal_that_comes_late_hits_nobody(case: Case, gate: Any) -> None:
    with ForkPool(1) as case.pool:
        case.run_interrupted()
        case.start(in_region, gate.pass_through)
        os.kill(case.pool.pids[0], signal.SIGURG)
        gate.open()
        assert case.end().value == case.pool.pids[0]


def be_busy_and_return(seconds: float, number: int) -> int:
    with interruptible():
        be_busy(seconds)
        return number


def be_busy(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def test_at_any_moment_of_a_tasks_life_it_hits_that_task_or_none(case: Case) -> None:
    """Each second task is interrupted, a little later in its life each time, a few times over. Of
    these each second one ends by nothing else."""
    pids = case.pool.pids
    ended: list[Ended] = []
    for number in range(1, 601):
        case.waiting.idle(case.pool)
        goes_on = number % 4 == 1
        task = case.pool.submit(be_busy_and_return, FOREVER if goes_on else 0.002, number)
        if number % 2:
            be_busy(number % 100 * 0.00003)
            assert case.pool.interrupt(task.number)
        ended += case.waiting.ends(case.pool, 1)
        if goes_on or (number % 2 and ended[-1].error):
            assert isinstance(original(ended[-1]), TaskInterrupted)
        else:
            assert ended[-1].value == number
    assert [end.task.number for end in ended] == list(range(1, 601))
    assert case.pool.pids == pids


def test_one_of_several_is_interrupted(waiting: Any, tmp_path: Path) -> None:
    with ForkPool(3) as pool:
        waiting.idle(pool, 3)
        notes = [tmp_path / str(number) for number in range(3)]
        tasks = [pool.submit(in_region, str(note), sleep) for note in notes]
        waiting.until(lambda: all(note.exists() for note in notes))
        assert pool.interrupt(tasks[1].number)
        (ended,) = waiting.ends(pool, 1)
        assert ended.task == tasks[1]
        assert isinstance(original(ended), TaskInterrupted)
        assert pool.busy == 2
        pool.kill()


def swallow(note: str, after: str) -> None:
    """Goes on after the interrupt, and touches another note then."""
    with suppress(BaseException), interruptible():
        Path(note).touch()
        spin()
    Path(after).touch()
    while True:
        with suppress(BaseException), interruptible():
            spin()


def refuse(note: str, after: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    swallow(note, after)


def run_swallower(case: Case, after: Path, task: Task, **limits: float) -> None:
    number = case.start(task, str(after), **limits)
    assert case.pool.interrupt(number)
    case.waiting.until(after.exists)
    assert case.pool.interrupt(number)  # changes nothing


def interrupted(ended: Ended) -> WorkerInterrupted:
    assert isinstance(ended.error, WorkerInterrupted)
    return ended.error


def test_a_task_that_goes_on_is_ended_after_the_grace(
    case: Case, clock: Any, tmp_path: Path
) -> None:
    run_swallower(case, tmp_path / "after", swallow)
    assert case.pool.wait(0) == []
    clock.put_forward(FOREVER)
    assert interrupted(case.end()).exitcode == -signal.SIGTERM
    assert case.waiting.run(case.pool, send_back, 1).value == 1


def test_a_task_that_refuses_is_killed_after_another_grace(
    case: Case, clock: Any, tmp_path: Path
) -> None:
    run_swallower(case, tmp_path / "after", refuse)
    clock.put_forward(FOREVER)
    assert case.pool.wait(0) == []
    assert case.pool.interrupt(case.pool.running()[0].task.number)  # puts nothing off
    clock.put_forward(FOREVER)
    assert interrupted(case.end()).exitcode == -signal.SIGKILL


def test_an_interrupt_does_not_put_off_the_time_limit(
    case: Case, clock: Any, tmp_path: Path
) -> None:
    run_swallower(case, tmp_path / "after", swallow, time_limit=FOREVER / 2)
    clock.put_forward(FOREVER / 2)
    assert isinstance(case.end().error, TimeLimitExceeded)


def swallow_later(note: str, gate: Any, after: str) -> None:
    Path(note).touch()
    gate.pass_through()
    swallow(note, after)


def test_a_task_that_is_struck_late_has_the_whole_grace(
    waiting: Any, clock: Any, gate: Any, tmp_path: Path
) -> None:
    """Whenever in the middle of a grace it came to be in reach."""
    with ForkPool(1, grace=FOREVER) as pool:
        case = Case(pool, waiting, tmp_path / "note")
        assert pool.interrupt(case.start(swallow_later, gate, str(tmp_path / "after")))
        clock.put_forward(FOREVER - 60)
        gate.open()
        waiting.until((tmp_path / "after").exists)
        clock.put_forward(FOREVER / 2)
        assert pool.wait(0) == []
        clock.put_forward(FOREVER - 60)
        assert pool.wait(0) == []
        assert (pool.busy, pool._crew.workers[0].overdue) == (1, False)
        clock.put_forward(FOREVER)
        interrupted(case.end())


def test_one_that_should_be_under_way_later_is_ended_for_its_interruption(
    case: Case, clock: Any, tmp_path: Path
) -> None:
    run_swallower(case, tmp_path / "after", swallow, begin_limit=3 * FOREVER)
    clock.put_forward(FOREVER)
    interrupted(case.end())


def test_shutdown_keeps_the_grace(case: Case, clock: Any, tmp_path: Path) -> None:
    run_swallower(case, tmp_path / "after", swallow)
    clock.put_forward(FOREVER)
    (ended,) = case.pool.shutdown()
    interrupted(ended)


def spin_in_c() -> None:
    all(itertools.repeat(True))


def die() -> None:
    signal.raise_signal(signal.SIGKILL)


def replace_the_handler() -> None:
    signal.signal(signal.SIGURG, lambda *_: None)


def ignore_the_signal() -> None:
    signal.signal(signal.SIGURG, signal.SIG_IGN)


def block_the_signal() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGURG])


DEAFENING = [replace_the_handler, ignore_the_signal, block_the_signal]


def be_deaf(note: str, deafen: Task) -> None:
    with interruptible():
        deafen()
        Path(note).touch()
        spin()


@pytest.mark.parametrize("deafen", DEAFENING)
def test_a_task_that_has_made_itself_deaf_is_ended(case: Case, clock: Any, deafen: Task) -> None:
    assert case.pool.interrupt(case.start(be_deaf, deafen))
    clock.put_forward(FOREVER)
    interrupted(case.end())


def test_a_task_that_is_deep_in_c_is_ended(case: Case, clock: Any) -> None:
    assert case.pool.interrupt(case.start(in_region, spin_in_c))
    clock.put_forward(FOREVER)
    interrupted(case.end())


@pytest.mark.parametrize("deafen", DEAFENING)
def test_the_next_task_hears_again(case: Case, deafen: Task) -> None:
    pid = case.waiting.run(case.pool, deafen).pid
    assert isinstance(case.run_interrupted(), TaskInterrupted)
    assert case.pool.pids == [pid]


def end_after(note: str, gate: Any) -> str:
    with suppress(TaskInterrupted):
        in_region(note, sleep)
    gate.pass_through()
    return "tidied up"


def test_a_task_may_tidy_up_within_the_grace(waiting: Any, gate: Any, tmp_path: Path) -> None:
    with ForkPool(1) as pool:
        case = Case(pool, waiting, tmp_path / "note")
        assert pool.interrupt(case.start(end_after, gate))
        gate.open()
        ended = case.end()
        assert (ended.value, [ended.pid]) == ("tidied up", pool.pids)


def die_of_it(note: str) -> None:
    try:
        in_region(note, sleep)
    except TaskInterrupted:
        die()


def test_a_death_before_the_signals_is_a_death(case: Case) -> None:
    assert case.pool.interrupt(case.start(die_of_it))
    assert type(case.end().error) is WorkerDied


def be_cut_off(note: str) -> None:
    """No end of it will ever be heard."""
    os.closerange(3, 65536)
    in_region(note, spin)


def test_an_interrupt_does_not_put_off_the_end_of_who_is_cut_off(case: Case, clock: Any) -> None:
    number = case.start(be_cut_off)
    case.waiting.until(lambda: case.pool.wait(0) == [] and case.pool._crew.workers[0].lost)
    assert case.pool.interrupt(number)
    clock.put_forward(60)
    assert type(case.end().error) is WorkerDied


def fork_and_stay(note: str, gate: Any) -> Any:
    """A copy that leaves the block, and enters another, in which it gets the signal."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGURG])
    Path(note).touch()
    gate.pass_through()
    pid = os.fork()
    if pid == 0:
        try:
            with interruptible():
                signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGURG])
                signal.raise_signal(signal.SIGURG)
        except BaseException:
            os._exit(7)
        os._exit(3)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        with interruptible():
            return "not struck"
    except TaskInterrupted:
        return code


def test_a_copy_that_a_task_has_forked_is_not_the_task(
    waiting: Any, gate: Any, tmp_path: Path
) -> None:
    with ForkPool(1) as pool:
        case = Case(pool, waiting, tmp_path / "note")
        assert pool.interrupt(case.start(fork_and_stay, gate))
        gate.open()
        assert case.end().value == 3


def let_a_copy_leave(note: str) -> None:
    with interruptible():
        if os.fork():
            os.wait()
            replace_the_handler()
            Path(note).touch()
            spin()


def test_a_copy_that_leaves_the_block_leaves_it_for_itself(case: Case, clock: Any) -> None:
    assert case.pool.interrupt(case.start(let_a_copy_leave))
    clock.put_forward(FOREVER)
    interrupted(case.end())


def tell_for_ever() -> None:
    for number in itertools.count():
        tell_parent(number)


def test_an_interrupt_leaves_no_half_a_note(case: Case) -> None:
    pids = case.pool.pids
    for _ in range(20):
        assert isinstance(case.run_interrupted(in_region, tell_for_ever), TaskInterrupted)
    assert case.pool.pids == pids


def enter_and_stay() -> None:
    interruptible().__enter__()


def test_a_block_does_not_outlive_its_task(case: Case, gate: Any) -> None:
    with ForkPool(1) as case.pool:
        assert case.waiting.run(case.pool, enter_and_stay).error is None
        number = case.start(wait_without_a_block, gate)
        assert case.pool.interrupt(number)
        gate.open()
        assert case.end().value == "undisturbed"


@pytest.fixture
def slot() -> Iterator[Slot]:
    """This process runs task 7, which gives back all that there was."""
    urgent = signal.signal(signal.SIGURG, signal.SIG_DFL)
    alarm = signal.signal(signal.SIGALRM, signal.SIG_IGN)
    slot = Slot()
    interrupts.begin(slot, 7)
    yield slot
    interrupts._desk.forget()
    assert signal.signal(signal.SIGALRM, alarm) is signal.SIG_IGN
    assert signal.setitimer(signal.ITIMER_REAL, 0) == (0, 0)
    signal.signal(signal.SIGURG, urgent)
    slot.close()


def interrupt(slot: Slot) -> None:
    slot.wanted = 7
    signal.raise_signal(signal.SIGURG)


def test_an_interrupt_that_is_swallowed_does_not_come_again(slot: Slot) -> None:
    with pytest.raises(TaskInterrupted), interruptible():
        interrupt(slot)
    with interruptible():
        interrupt(slot)
    assert slot.exposed == 7


def test_a_task_can_tell_whether_it_was_interrupted(slot: Slot) -> None:
    with suppress(TaskInterrupted), interruptible():
        raise TaskInterrupted  # its own
    assert not was_interrupted()
    with suppress(TaskInterrupted), interruptible():
        interrupt(slot)
    assert was_interrupted()
    interrupts.begin(slot, 8)
    assert not was_interrupted()


def test_after_a_task_and_in_a_copy_of_its_process_nothing_was_interrupted(slot: Slot) -> None:
    with suppress(TaskInterrupted), interruptible():
        interrupt(slot)
    if not (copy := os.fork()):
        os._exit(was_interrupted())
    assert os.waitpid(copy, 0)[1] == 0
    interrupts.end()
    assert not was_interrupted()


def test_the_parent_sees_where_it_can_interrupt(slot: Slot) -> None:
    with interruptible():
        with interruptible():
            pass
        assert slot.exposed == 7
    assert slot.exposed == 0


def test_another_task_is_not_meant(slot: Slot) -> None:
    slot.wanted = 6
    with interruptible():
        signal.raise_signal(signal.SIGURG)


def test_another_thread_has_no_such_block(slot: Slot) -> None:
    seen: list[int] = []

    def enter() -> None:
        with interruptible():
            seen.append(slot.exposed)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [0]


def test_outside_of_a_task_nothing_is_interruptible() -> None:
    before = signal.getsignal(signal.SIGURG)
    with interruptible():
        assert signal.getsignal(signal.SIGURG) is before


def test_a_block_that_was_never_left_can_be_disarmed(slot: Slot) -> None:
    enter_and_stay()
    disarm()
    assert slot.exposed == 0
    interrupt(slot)


class Clock:
    """Stands for the module `time`: a limit is over when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


Block = Callable[[], AbstractContextManager[object]]


def limit() -> AbstractContextManager[object]:
    return soft_time_limit(10)


@pytest.fixture
def time_is_over(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    clock = Clock()
    monkeypatch.setattr(limits, "time", clock)

    def time_is_over() -> None:
        clock.now += 20

    return time_is_over


@pytest.mark.parametrize(
    ("outer", "inner", "error"),
    [(interruptible, limit, TaskInterrupted), (limit, interruptible, TaskTimeout)],
)
def test_of_two_that_strike_at_once_the_outer_one_does(
    slot: Slot, time_is_over: Task, outer: Block, inner: Block, error: type[BaseException]
) -> None:
    def strike() -> None:
        time_is_over()
        interrupt(slot)

    with pytest.raises(error), outer(), inner():
        strike()


@pytest.mark.parametrize("timeout_first", [True, False])
def test_one_that_strikes_while_the_other_is_on_its_way_is_raised_too(
    slot: Slot, time_is_over: Task, timeout_first: bool
) -> None:
    """Both blocks are left all the same."""

    def be_timed_out() -> None:
        time_is_over()
        signal.raise_signal(signal.SIGALRM)

    def both() -> None:
        with interruptible():
            try:
                with soft_time_limit(10):
                    be_timed_out()
            finally:
                interrupt(slot)

    def in_the_other_order() -> None:
        with soft_time_limit(10):
            try:
                with interruptible():
                    interrupt(slot)
            finally:
                be_timed_out()

    with pytest.raises(TaskInterrupted if timeout_first else TaskTimeout) as raised:
        both() if timeout_first else in_the_other_order()
    assert type(raised.value.__context__) is (TaskTimeout if timeout_first else TaskInterrupted)


def strike_at(step: int, strike: Callable[[], None], block: Callable[[], None]) -> bool:
    """Run a block, and do something at the n-th byte code of ours in it; whether it has so many."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        ours = ("forkpool.blocks", "forkpool.limits", "forkpool.interrupts", "forkpool.board")
        if frame.f_globals.get("__name__") not in ours:
            return None
        frame.f_trace_opcodes = True
        count += event == "opcode"
        if event == "opcode" and count == step:
            strike()
        return trace

    before = sys.gettrace()
    sys._getframe().f_trace_opcodes = True  # without it Python 3.12 traces none the first time
    sys.settrace(trace)
    try:
        block()
    finally:
        sys.settrace(before)
    return count >= step


@pytest.mark.parametrize("outer", [interruptible, limit])
@pytest.mark.parametrize("both", [True, False], ids=["both", "interrupt"])
def test_a_strike_at_any_byte_code_leaves_nothing_behind(
    slot: Slot, monkeypatch: pytest.MonkeyPatch, outer: Block, both: bool
) -> None:
    """No block is open any more, no timer runs, and each has struck once at most."""
    clock = Clock()
    monkeypatch.setattr(limits, "time", clock)
    inner = limit if outer is interruptible else interruptible
    struck: list[type[BaseException]] = []

    def strike() -> None:
        slot.wanted = 7
        if both:
            clock.now = 20.0
            signal.raise_signal(signal.SIGALRM)
        signal.raise_signal(signal.SIGURG)

    def block() -> None:
        try:
            with outer():
                try:
                    with inner():
                        pass
                except (TaskTimeout, TaskInterrupted) as error:
                    struck.append(type(error))
        except (TaskTimeout, TaskInterrupted) as error:
            struck.append(type(error))

    step = 1
    while strike_at(step, strike, block):
        assert signal.getsignal(signal.SIGALRM) is signal.SIG_IGN, step
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0), step
        assert len(struck) == len(set(struck)), step
        assert slot.exposed == (7 if TaskInterrupted in struck else 0), step
        strike()  # finds nothing that is open
        struck.clear()
        clock.now = 0.0
        slot.wanted = slot.exposed = 0
        interrupts.begin(slot, 7)
        step += 1
    assert step > 300
