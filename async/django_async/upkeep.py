"""What a service sees to beside its jobs: a supervisor, changed code, jobs that ended long ago."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from math import inf
from pathlib import Path
from typing import Any

from django.apps import apps
from django.utils import autoreload

from django_async import retention, rollup
from django_async.engine import Engine
from django_async.forking import close_connections
from django_async.lane import Lane
from forkpool import Pool, reap_strays

logger = logging.getLogger(__name__)

FOR_EVER = 86_400.0
"""Seconds until a duty is looked at again that has nothing to do."""

LONGEST_WORD = 1.0
"""Seconds that a supervisor has to take a message."""

Call = Callable[..., Any]


class Supervisor:
    """Tells systemd that the service is ready, that it lives and what it does, that it starts anew,
    and that it stops: the protocol of sd_notify(3). Without a supervisor that asks for it, this
    does nothing.

    The same process tells all of it, also that which has started anew.
    """

    STARTING = 0.05
    """Seconds between two looks at whether the service is ready."""

    NEWS = 10.0
    """Seconds between two words on what it does, at the most."""

    def __init__(self, starts_anew: Callable[[], bool]) -> None:
        self._starts_anew = starts_anew
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        self._interval = _watchdog_interval()
        self._told: str | None = None
        self._is_heard = True

    def see_to(self, engine: Engine) -> float:
        if not self._address:
            return FOR_EVER
        if engine.is_halted:
            self.say_goodbye()
        elif engine.is_ready:
            self._tell_once("READY=1")
        self._tell(f"WATCHDOG=1\nSTATUS={_status(engine)}")
        return min(self._interval, self.NEWS) if self._told else self.STARTING

    def say_goodbye(self) -> None:
        """The service ends: to start anew, or for good."""
        self._tell_once("RELOADING=1" if self._starts_anew() else "STOPPING=1")

    def _tell_once(self, state: str) -> None:
        if state == self._told:
            return
        self._told = state
        # A supervisor that asked to reload takes only the answer from after its question.
        moment = f"\nMONOTONIC_USEC={time.monotonic_ns() // 1000}" if "RELOAD" in state else ""
        self._tell(state + moment)

    def _tell(self, message: str) -> None:
        if not self._address:
            return
        address = self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            try:
                sender.settimeout(LONGEST_WORD)
                sender.sendto(
                    message.encode(), "\0" + address[1:] if address[0] == "@" else address
                )
                self._is_heard = True
            except OSError as error:
                if self._is_heard:  # once: while it starts it is told twenty times a second
                    logger.warning("The supervisor could not be told %r: %s", message, error)
                self._is_heard = False


class Reaper:
    """As PID 1, as in a container: buries processes that jobs have left behind, when they end."""

    INTERVAL = 1.0

    def __init__(self, pool: Pool, others: Callable[[], Iterable[int]]) -> None:
        self._pool = pool
        self._others = others

    def see_to(self, engine: Engine) -> float:
        reap_strays(self._pool, keep=self._others())
        return self.INTERVAL


class Reloader:
    """Under ``--reload``: notices that a file of the program has changed, and ends the engine, so
    that the command can start anew; once it is Python again."""

    def __init__(self, interval: float = 1.0) -> None:
        self.has_changed = False
        self._interval = interval
        self._before: dict[Path, float] = {}
        self._broken: set[Path] = set()

    def see_to(self, engine: Engine) -> float:
        now = dict(_stamps())
        changed = {path for path in now if self._before and now[path] != self._stamp(path)}
        self._before = now
        if changed and not self.has_changed:
            self._heed(changed, engine)
        return self._interval

    def _heed(self, changed: set[Path], engine: Engine) -> None:
        self._broken = {path for path in changed | self._broken if not _is_python(path)}
        if self._broken:
            logger.warning("%s has changed, and is no Python now.", min(self._broken))
            return
        logger.warning("%s has changed: starting anew.", min(changed))
        self.has_changed = True
        engine.halt()

    def _stamp(self, path: Path) -> float | None:
        return self._before.get(path)


class Chore:
    """Something that is done in a worker, a little at a time, until nothing is left of it; and then
    again later."""

    NEXT_BATCH, NEXT_ROUND, NO_WORKER = 0.1, 60.0, 0.05
    """Seconds to the next batch, to the next look when nothing is left, and to the next try."""

    BY_THE_FIRST = True
    """Whether of several parents the first one does it, and the others leave it to that."""

    SHARE = 5
    """A batch that took long is followed by as much more of a pause: no more than this part of one
    worker's time goes into it."""

    def __init__(self, lane: Lane, call: Call) -> None:
        self._lane = lane
        self._call = call
        self._is_at_work = False
        self._is_through = False
        self._began = self._rests_until = -inf

    def see_to(self, engine: Engine) -> float:
        is_anothers = self.BY_THE_FIRST and self._lane.walk.share.rank
        if self._is_through or is_anothers or self._lane.access.outage.is_on:
            self._is_through = False
            return self.NEXT_ROUND
        if self._is_at_work:
            return self.NEXT_BATCH
        if (rest := self._rests_until - self._lane.clock()) > 0:
            return rest
        self._began = self._lane.clock()
        if not engine.run_chore(self._end, self._call, *self.batch()):
            return self.NO_WORKER
        self._is_at_work = True
        return self.NEXT_BATCH

    def batch(self) -> tuple[Any, ...]:
        """The function, and its arguments, that does a little and returns what became of it."""
        raise NotImplementedError

    def is_last(self, done: Any) -> bool:
        """Whether nothing is left after a batch of which that became."""
        return not done

    def _end(self, done: Any) -> None:
        now = self._lane.clock()
        self._is_at_work = False
        self._is_through = done is None or self.is_last(done)
        self._rests_until = now + (self.SHARE - 1) * (now - self._began)


class Cleaner(Chore):
    """Deletes jobs that ended longer ago than the retention.

    Each parent that has one does so: the first one may have none. Two at once skip what the other
    has locked, and so come to lie one behind the other.
    """

    BY_THE_FIRST = False

    BATCH = retention.BATCH
    """Jobs that are deleted in one transaction, which takes some 20 ms."""

    MOST_TOLD = 10_000
    """Jobs of which it is remembered that the operator knows that they cannot be deleted."""

    def __init__(self, lane: Lane, seconds: float, call: Call) -> None:
        super().__init__(lane, call)
        self._seconds = seconds
        self._place = retention.START
        self._told: set[int] = set()

    def batch(self) -> tuple[Any, ...]:
        return retention.remove_some, self._seconds, self._lane.using, self.BATCH, self._place

    def is_last(self, done: retention.Step) -> bool:
        self._tell(done.refusals)
        self._place = done.place or retention.START
        return done.place is None

    def _tell(self, refusals: list[retention.Refusal]) -> None:
        """Once of each, and not in each round."""
        if len(self._told) < self.MOST_TOLD:
            new = [one for one in refusals if one.job_id not in self._told]
            self._told.update(one.job_id for one in new)
            retention.warn_of(new, self._lane.using)


class Accountant(Chore):
    """Keeps the statistics small. It begins after a while: there are none before."""

    def __init__(self, lane: Lane, call: Call) -> None:
        super().__init__(lane, call)
        self._is_through = True

    def batch(self) -> tuple[Any, ...]:
        return rollup.roll_up, self._lane.using


def _status(engine: Engine) -> str:
    """What the service does, in a line for people."""
    done = engine.summary
    return (
        f"{engine.running} of {engine.workers} workers at work;"
        f" {done.executed} jobs executed, {done.failed} failed"
    )


def _watchdog_interval() -> float:
    """Half of what systemd's WatchdogSec allows."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    meant = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(microseconds) / 2e6 if meant and microseconds.isdecimal() else FOR_EVER


def _is_python(path: Path) -> bool:
    try:
        compile(path.read_bytes(), path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return False
    except OSError:  # gone, or not to be read: its import will tell
        pass
    return True


def _stamps() -> Iterator[tuple[Path, float]]:
    """When each file was changed that is part of the program: what this process has loaded, and,
    since workers load their jobs themselves, all code of the applications that are not installed
    as packages."""
    files = set(autoreload.iter_all_python_module_files())
    for config in apps.get_app_configs():
        root = Path(config.path)
        if "site-packages" not in root.parts:
            files.update(root.rglob("*.py"))
    for file in files:
        try:
            yield file, file.stat().st_mtime
        except OSError:  # gone meanwhile
            continue


def postpone_signals(*, postponed: bool) -> None:
    """Have signals wait, from the end of what is to start anew until it has: the system keeps them
    meanwhile. Without that a second SIGHUP would end the process, and PID 1 would miss a SIGTERM.
    """
    if hasattr(signal, "pthread_sigmask"):
        how = signal.SIG_BLOCK if postponed else signal.SIG_UNBLOCK
        signal.pthread_sigmask(how, {signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM})


def start_anew() -> None:
    """Become the command again, with the code of now and the same process id. Not every driver has
    its sockets close by themselves then: MariaDB's would keep the sessions, and their locks."""
    close_connections()
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - it is ourselves
