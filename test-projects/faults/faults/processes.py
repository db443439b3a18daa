"""``flush_queue`` as real processes, and everything that descends from them.

All processes of a run are known by FAULTS_FOLDER in their environment, whoever their parent and
their group is by now. What is to outlive a scenario (a server, say) is started without it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from faults.place import FOLDER
from faults.scale import Violation

T = TypeVar("T")

MANAGE = Path(__file__).parents[1] / "manage.py"

SETTINGS = {"DJANGO_SETTINGS_MODULE": "faults.settings", "SPT_NOENV": "1"}
"""The second keeps titles from being written over the environment, by which processes are known."""

DEADLINE = 60.0
"""Seconds after which something that is waited for hangs."""


class Flush:
    """One ``flush_queue``: the parent, and the workers that it has at the moment."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self._process = process
        self._output = output
        self.pid = process.pid
        self.began = time.monotonic()

    @property
    def workers(self) -> list[int]:
        """The processes that it has forked and that live."""
        return [pid for pid in children(self.pid) if is_alive(pid)]

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    @property
    def output(self) -> str:
        """What it said so far, on both streams."""
        return self._output.read_text(errors="replace")

    def signal(self, signum: int) -> None:
        """Signal the parent alone."""
        self._process.send_signal(signum)

    def kill(self) -> None:
        """SIGKILL to the parent alone."""
        self._process.kill()

    def kill_all(self) -> None:
        """SIGKILL to the parent and the workers, the parent first: it must not see them die."""
        workers = self.workers
        self.kill()
        for pid in workers:
            kill(pid)
            with suppress(ProcessLookupError, PermissionError):  # its group: what jobs left behind
                os.killpg(pid, signal.SIGKILL)

    def end(self, *codes: int, within: float = DEADLINE) -> int:
        """Wait for its end, with one of these exit codes (a signal's number is negative)."""
        try:
            code = self._process.wait(within)
        except subprocess.TimeoutExpired:
            raise Violation(f"flush_queue hangs, {within:g} s long:\n{self.tail}") from None
        if code not in codes:
            raise Violation(f"flush_queue exited with {code}, not {codes}:\n{self.tail}")
        return code

    @property
    def tail(self) -> str:
        """The last of it."""
        return self.output[-3000:]


@contextmanager
def flushing(
    output: Path,
    *arguments: str,
    workers: int = 4,
    before: Sequence[str] = (),
    **environment: str,
) -> Iterator[Flush]:
    """Within the block, a ``flush_queue --keep-going`` of its own session runs, with this before
    its command; in the end nothing of it is left."""
    options = ("flush_queue", "--keep-going", "--workers", str(workers), *arguments)
    with output.open("wb") as stream:
        process = subprocess.Popen(
            [*before, sys.executable, "-W", "error", str(MANAGE), *options],
            env={**os.environ, **SETTINGS, **environment},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    with process:
        flush = Flush(process, output)
        try:
            yield flush
        finally:
            with suppress(ProcessLookupError):
                os.kill(flush.pid, signal.SIGCONT)
            if not flush.ended:
                flush.kill_all()


def wait_for(happened: Callable[[], T | None], what: str, *, within: float = DEADLINE) -> T:
    """Return what ``happened`` gives as soon as it is something true."""
    began = time.monotonic()
    while not (given := happened()):
        if time.monotonic() - began > within:
            raise Violation(f"{what}: not within {within:g} s")
        time.sleep(0.001)
    return given


def wait_until(happened: Callable[[], Any], what: str, *, within: float = DEADLINE) -> float:
    """Return as soon as ``happened`` gives something true; the seconds that it took."""
    began = time.monotonic()
    wait_for(happened, what, within=within)
    return time.monotonic() - began


def children(pid: int) -> list[int]:
    """The processes that the process has forked and not reaped yet."""
    with suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that only waits to be reaped does not."""
    return _stat(pid)[0] not in "ZX"


def has_group(pid: int) -> bool:
    """Whether a process that lives is left of the group that this one led."""
    return any(_group(other) == pid and is_alive(other) for other in _processes())


def kill(pid: int) -> None:
    """SIGKILL, if the process is still there."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def survivors() -> list[int]:
    """The processes of this run that live, this one excepted."""
    mark = f"FAULTS_FOLDER={FOLDER}".encode()
    return [pid for pid in _processes() if pid != os.getpid() and _has(pid, mark) and is_alive(pid)]


def resident(pid: int) -> int:
    """Bytes of memory that the process occupies."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def descriptors(pid: int) -> int:
    """How many descriptors the process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def cpu_seconds(pid: int) -> float:
    """Seconds of a processor that the process has used so far."""
    return sum(map(int, _stat(pid)[11:13])) / os.sysconf("SC_CLK_TCK")


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]


def _group(pid: int) -> int:
    return int(_stat(pid)[2])


def _stat(pid: int) -> list[str]:
    """State, parent, group and more; of a process that is gone as of a dead one."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return ["X", *["0"] * 12]


def _has(pid: int, mark: bytes) -> bool:
    with suppress(OSError):
        return mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return False
