"""Processes of a queue, as /proc shows them: start, hold, end them; their CPU time and memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

GOODBYE = 5.0
"""Seconds for workers to end by themselves."""
TICK = os.sysconf("SC_CLK_TCK")
SERVERS = ("postgres", "mariadbd", "mysqld", "redis-server")


@dataclass(frozen=True, slots=True)
class Group:
    """What was started, and whatever that forked."""

    roots: Sequence[subprocess.Popen[bytes]]
    log: Path

    def pids(self) -> list[int]:
        """All processes, parents first."""
        return [pid for root in self.roots for pid in tree(root.pid)]

    def children(self) -> list[int]:
        """The processes that the roots have started; the roots, where they have not."""
        roots = {root.pid for root in self.roots}
        return [pid for pid in self.pids() if pid not in roots]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within the block they stand still."""
        held = self.pids()
        _signal(held, signal.SIGSTOP)
        try:
            yield
        finally:
            _signal(held, signal.SIGCONT)

    def check(self) -> None:
        """Raise RuntimeError, with the end of what it said, if one of them has ended."""
        for root in self.roots:
            if root.poll() is not None:
                said = self.log.read_text(errors="replace").strip()[-2000:]
                raise RuntimeError(f"A worker ended with {root.returncode}: {said}")


@contextmanager
def started(
    commands: Sequence[Sequence[str]], log: Path, before: Sequence[Sequence[str]] = ((),)
) -> Iterator[Group]:
    """Run Python with these command lines, with what stands before each of them in turn; what they
    say goes to the log."""
    with log.open("wb") as output:
        group = Group(
            [
                subprocess.Popen(
                    [*place, sys.executable, *command],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
                for place, command in zip(cycle(before), commands, strict=False)
            ],
            log,
        )
        try:
            yield group
        finally:
            _end(group)


def _end(group: Group) -> None:
    everyone = group.pids()
    for root in group.roots:
        root.terminate()
    try:
        wait_for(lambda: all(root.poll() is not None for root in group.roots), GOODBYE)
    except TimeoutError:
        pass
    _signal(everyone, signal.SIGKILL)
    for root in group.roots:
        root.wait()


def wait_for(happened: Callable[[], object], seconds: float, every: float = 0.005) -> None:
    """Wait until it has happened; TimeoutError after so many seconds."""
    end = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > end:
            raise TimeoutError(f"nothing happened within {seconds:g} s")
        time.sleep(every)


def tree(pid: int) -> list[int]:
    """A process and its descendants, parents first; none if it is gone."""
    try:
        text = " ".join(path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children"))
    except OSError:
        return []
    return [pid, *(one for child in text.split() for one in tree(int(child)))]


def cpu_seconds(pids: Sequence[int]) -> float:
    """What these processes have used so far; those that are gone count nothing."""
    return sum(_times(pid)[0] for pid in pids)


def server_cpu_seconds() -> float:
    """What the servers on this machine have used so far, their ended sessions included."""
    total = 0.0
    for path in Path("/proc").glob("[0-9]*"):
        try:
            name = (path / "comm").read_text().strip()
        except OSError:
            continue
        if name in SERVERS:
            total += sum(_times(int(path.name)))
    return total


def _times(pid: int) -> tuple[float, float]:
    """CPU seconds of a process, and those of its children that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0, 0.0
    own, ended = (int(fields[index]) + int(fields[index + 1]) for index in (11, 13))
    return own / TICK, ended / TICK


def pss(pid: int) -> float:
    """MB of memory; what it shares with others counts in parts. 0 if the process is gone."""
    return _memory(pid, "Pss:")


def rss(pid: int) -> float:
    """MB of memory, whoever shares it."""
    return _memory(pid, "Rss:")


def private(pid: int) -> float:
    """MB of memory that it shares with nobody."""
    return _memory(pid, "Private_Dirty:") + _memory(pid, "Private_Clean:")


def _memory(pid: int, what: str) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith(what)) / 1024


def _signal(pids: Sequence[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass
