"""Several hosts, each with a service, and one database: hosts that are cut off, and that die."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

from django_async.models import Error, Job
from faults import ledger, probes, work
from faults.elsewhere import on_private_server
from faults.hosts import Host, network
from faults.models import Entry
from faults.progress import at_work, end_in_order, flow_until
from faults.scale import Figures, Scale, Violation
from faults.scenario import scenario
from faults.world import World

HOLDS = 6
"""Jobs that are in the middle when their hosts are cut off or die."""

IN_TRANSACTION = (
    "SELECT pid FROM pg_stat_activity WHERE client_addr = %s::inet AND xact_start IS NOT NULL"
)


@scenario(18, "hosts", ("postgres",))
def part_hosts(world: World, scale: Scale, rng: Random) -> Figures:
    """Of three hosts one is cut off and another one dies: their jobs run elsewhere within seconds,
    late commits fail, and the one that was cut off works again when it is back."""
    times: dict[str, list[float]] = {}
    with network(3) as (address, hosts), on_private_server(world, address):
        for number in range(scale.count(1, 20)):
            trial = _Trial(world, address, hosts, world.folder / f"gate-{number}")
            for what, seconds in trial.run(rng).items():
                times.setdefault(what, []).append(seconds)
    worst = {what: max(seconds) for what, seconds in times.items()}
    limits = {"locked after the cut": (12, 30), "elsewhere after the death": (2, 10)}
    for what, (goal, bound) in limits.items():
        scale.judge(f"{what}, s", worst[what], goal=goal, bound=bound)
    scale.judge("back at work, s", worst["at work after the cut"], goal=10, bound=40)
    return {f"{what}, max s": round(seconds, 2) for what, seconds in worst.items()}


class _Trial:
    """Three services, of which one hears nothing for a while, and another one dies."""

    def __init__(self, world: World, address: str, hosts: list[Host], gate: Path) -> None:
        self._world = world
        self._address = address
        self._hosts = {host.name: host for host in hosts}
        self._gate = gate

    def run(self, rng: Random) -> dict[str, float]:
        """The seconds that it took."""
        with ExitStack() as stack:
            services = {
                name: stack.enter_context(
                    self._world.service(name=name, before=host.command, POSTGRES_HOST=self._address)
                )
                for name, host in self._hosts.items()
            }
            stack.callback(self._connect_all)
            self._until(lambda: set(services) <= at_work(), "all three hosts work")
            held = self._hold()
            [(cut, _)] = Counter(held.values()).most_common(1)
            dying = rng.choice([name for name in services if name != cut])
            times = self._part(cut, dying, held)
            services.pop(dying).end(-signal.SIGKILL)
            for number in range(2):
                Path(f"{self._gate}-{number}").touch()
            end_in_order(services.values())
        return times

    def _hold(self) -> dict[int, str]:
        """Have jobs in the middle; where each of them is."""
        arguments = [[number, f"{self._gate}-{number % 2}"] for number in range(HOLDS)]
        ids = self._world.schedule(work.outlast, arguments, priority=9)
        self._until(lambda: set(ids) <= {start.job for start in ledger.starts()}, "they began")
        return {start.job: start.service for start in ledger.starts() if start.job in ids}

    def _part(self, cut: str, dying: str, held: dict[int, str]) -> dict[str, float]:
        host = self._hosts[cut]
        lost = [job for job, name in held.items() if name == cut]
        orphans = [job for job, name in held.items() if name == dying]
        host.cut_off()
        silent = time.monotonic()
        self._hosts[dying].power_off()
        dead = time.monotonic()
        self._until(lambda: _elsewhere(orphans, dying), "the dead host's jobs run elsewhere")
        self._until(lambda: not probes.ask(IN_TRANSACTION, host.address), "its sessions end")
        locked = time.monotonic() - silent
        self._until(lambda: _elsewhere(lost, cut), "the silent host's jobs run elsewhere")
        self._until(lambda: _are_executed(lost), "the silent host's jobs end elsewhere")
        Path(f"{self._gate}-0").touch()  # they end while nobody hears them
        time.sleep(0.2)
        host.connect()
        back = time.monotonic()
        Path(f"{self._gate}-1").touch()  # and these when everybody does
        self._until(lambda: cut in at_work(back), "the host works again")
        _must_be_done_once(lost, cut)
        return {
            "elsewhere after the death": _latest(orphans, dying, dead),
            "locked after the cut": locked,
            "elsewhere after the cut": _latest(lost, cut, silent),
            "at work after the cut": min(s.at for s in _starts(back, cut)) - back,
        }

    def _until(self, happened: Callable[[], Any], what: str) -> None:
        flow_until(self._world, happened, what)

    def _connect_all(self) -> None:
        for host in self._hosts.values():
            host.connect()


def _starts(since: float, service: str) -> list[ledger.Start]:
    return [one for one in ledger.starts() if one.at > since and one.service == service]


def _elsewhere(ids: Collection[int], than: str) -> bool:
    """Whether each of the jobs has begun at another host, too."""
    return set(ids) <= {start.job for start in ledger.starts() if start.service != than}


def _latest(ids: Collection[int], than: str, since: float) -> float:
    """Seconds until the last of the jobs has begun at another host."""
    found = [one for one in ledger.starts() if one.job in ids and one.service != than]
    return max([one.at for one in found], default=since) - since


def _are_executed(ids: Collection[int]) -> bool:
    return Job.objects.executed().filter(pk__in=ids).count() == len(ids)


def _must_be_done_once(ids: Collection[int], cut: str) -> None:
    """What the silent host had done of the jobs is not there, and no failure either."""
    pids = {start.pid for start in ledger.starts() if start.service == cut}
    if stale := Entry.objects.filter(job__in=ids, pid__in=pids).count():
        raise Violation(f"{stale} late commits of the silent host have succeeded")
    if error := Error.objects.filter(job__in=ids).first():
        raise Violation(f"job {error.job_id} was executed elsewhere, and failed: {error.exception}")
