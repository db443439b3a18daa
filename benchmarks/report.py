"""The document: what was measured, on what, with which promises, as tables and plots."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from benchmarks import cells, plot, texts
from benchmarks.catalogue import BY_NAME, OWN, YARDSTICK
from benchmarks.cells import Row
from benchmarks.figures import NOTHING, each, percentiles, ratio, spread, systems
from benchmarks.record import Record

NONE = "-"

Plots = dict[str, str]


@dataclass(slots=True)
class Document:
    """The page, and the plots that lie beside it."""

    parts: list[str] = field(default_factory=lambda: [texts.HEAD])
    plots: Plots = field(default_factory=dict)

    def draw(self, name: str, what: str, svg: str) -> None:
        """Add a plot."""
        self.plots[f"{name}.svg"] = svg
        self.parts.append(f"![{what}](performance/{name}.svg)\n")

    def table(self, head: Row, rows: Iterable[Row]) -> None:
        """Add a table."""
        self.parts.append(table(head, rows))


def document(records: Sequence[Record], notes: str = "") -> tuple[str, Plots]:
    """The whole page in Markdown, with the notes at its end, and its plots by file name."""
    page = Document()
    order = list(SECTIONS)
    for record in sorted(records, key=lambda one: (order.index(one.experiment), one.key)):
        SECTIONS[record.experiment](record, page)
        page.parts.append(_conditions(record))
    page.parts.append(_promises())
    return "\n".join([*page.parts, notes]).rstrip() + "\n", page.plots


def table(head: Row, rows: Iterable[Row]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _throughput(record: Record, page: Document) -> None:
    for workload in record.names:
        for workers, rounds in record.runs.items():
            number = "1 worker" if workers == "1" else f"{workers} workers"
            page.parts.append(f"## {workload} with {number}, {_server(record)}\n")
            page.parts.append(f"{workload} is {texts.WORKLOADS[workload]}.\n")
            _rates(rounds, workload, page, f"{workload}-{workers}-{record.database}".lower())


def _rates(rounds: Sequence[dict[str, Any]], workload: str, page: Document, name: str) -> None:
    ranked = systems(rounds, lambda one: spread(each(rounds, one, workload, "rate")).middle)
    ranked = [one for one in ranked if each(rounds, one, workload, "rate")]
    page.table(
        ["", "a second", "to the yardstick", "django-async to it", "what it does not promise"],
        [_rate_row(rounds, one, workload) for one in ranked],
    )
    shown = {one: spread(each(rounds, one, workload, "rate")) for one in ranked}
    page.draw(
        name.replace(" ", "-"),
        f"{workload}, jobs a second by system",
        plot.bars(
            f"{workload}: {texts.WORKLOADS[workload].partition(';')[0]}".replace("`", ""),
            "jobs a second",
            [plot.Bar(one, it.middle, it.low, it.high, _kind(one)) for one, it in shown.items()],
        ),
    )


def _rate_row(rounds: Sequence[dict[str, Any]], system: str, workload: str) -> Row:
    path = (workload, "rate")
    to_yardstick = NOTHING if system == YARDSTICK else ratio(rounds, system, YARDSTICK, *path)
    to_own = NOTHING if system == OWN else ratio(rounds, OWN, system, *path)
    return [
        f"**{system}**" if system == OWN else system,
        spread(each(rounds, system, *path)).show(),
        to_yardstick.show(".2f"),
        to_own.show(".2f"),
        _lacks(system),
    ]


def _lacks(system: str) -> str:
    promises = BY_NAME[system].promises if system in BY_NAME else None
    if promises is None:
        return "anything: no queue"
    if system == OWN:
        return ""
    lacking = [] if promises.joins == "yes" else ["joining the transaction"]
    lacking += [] if promises.atomic == "yes" else ["atomic jobs"]
    return "; ".join(filter(None, [", ".join(lacking), f"killed: {promises.killed}"]))


def _kind(system: str) -> str:
    if system == OWN:
        return "own"
    return "bar" if system in BY_NAME and BY_NAME[system].promises else "bare"


def _enqueue(record: Record, page: Document) -> None:
    page.parts.append(f"## Enqueue, {_server(record)}\n")
    page.parts.append(texts.ENQUEUE)
    [rounds] = record.runs.values()
    forms = ("one", "inside", "many")
    ranked = systems(rounds, lambda one: spread(each(rounds, one, "one")).middle)
    rows = [[one, *(_enqueued(rounds, one, form) for form in forms), _joins(one)] for one in ranked]
    page.table(["", "one by one", "in one transaction", "many", "joins the transaction"], rows)


def _enqueued(rounds: Sequence[dict[str, Any]], system: str, form: str) -> str:
    """The rate, and of django-async's its ratio to the yardstick's."""
    rate = spread(each(rounds, system, form)).show()
    to_yardstick = ratio(rounds, system, YARDSTICK, form)
    return f"{rate}; {to_yardstick.show('.2f')}" if system == OWN else rate


def _joins(system: str) -> str:
    promises = BY_NAME[system].promises
    return promises.joins if promises else NONE


def _latency(record: Record, page: Document) -> None:
    page.parts.append(f"## Latency, {_server(record)}\n")
    page.parts.append(texts.LATENCY)
    [rounds] = record.runs.values()
    found = [_latency_row(rounds, one) for one in systems(rounds, lambda _: 0.0)]
    found.sort(key=lambda row: float(row[1]))
    page.table(
        ["", "idle p50", "p99", "loaded p50", "p99", "load, a second", "CPU while idle"], found
    )
    _silence(rounds, page)


def _silence(rounds: Sequence[dict[str, Any]], page: Document) -> None:
    delays = [delay for one in rounds for delay in one.get(OWN, {}).get("silence", ())]
    if delays:
        page.parts.append(texts.SILENCE.format(probes=len(delays)))
        figures = [*percentiles(delays), max(delays)]
        page.table(["", "p50", "p99", "longest"], [[OWN, *(f"{one:,.1f}" for one in figures)]])


_LOAD = {"load": ",.0f", "share": ".1%"}


def _latency_row(rounds: Sequence[dict[str, Any]], system: str) -> Row:
    taken = [one[system] for one in rounds if system in one]
    row = [system]
    for form in ("idle", "loaded"):
        delays = [delay for one in taken for delay in one[form]]
        row += [f"{value:.1f}" for value in percentiles(delays)]
    return [*row, *(spread(one[what] for one in taken).show(f) for what, f in _LOAD.items())]


def _memory(record: Record, page: Document) -> None:
    page.parts.append(f"## Memory, {_server(record)}\n")
    page.parts.append(texts.MEMORY)
    bare, large = record.runs["0"], record.runs["100"]
    rows = [
        [one, *cells.shared_mb(bare, one), *cells.added_mb(bare, large, one)]
        for one in systems(bare, lambda _: 0.0)
    ]
    page.table(["", "all", "parents", "a worker", "its own", "100 MB add", "its own then"], rows)
    for grown in record.runs.get("growth", ()):
        page.parts.append(texts.GROWTH.format(**cells.growth(grown[OWN])))


def _scaling(record: Record, page: Document) -> None:
    page.parts.append(f"## Scaling, {_server(record)}\n")
    page.parts.append(texts.SCALING)
    rows, points = [], dict[str, list[tuple[float, float]]]()
    for workers, rounds in record.runs.items():
        for one in systems(rounds, lambda _: 0.0):
            rate = spread(each(rounds, one, "W1", "rate"))
            points.setdefault(one, []).append((float(workers), rate.middle))
            rows.append([one, workers, rate.show(), *cells.cpu(rounds, one, "W1")])
    page.table(["", "workers", "a second", "parent", "workers' ms", "servers' ms"], rows)
    drawn = plot.lines("W1 by the number of workers", "jobs a second", "workers", points)
    page.draw(record.key, "W1 jobs a second by the number of workers", drawn)


def _services(record: Record, page: Document) -> None:
    page.parts.append(f"## Several services, {_server(record)}\n")
    page.parts.append(texts.SERVICES)
    _of_several(record, page, "services", lambda workers, number: workers // number)


def _hosts(record: Record, page: Document) -> None:
    page.parts.append(f"## Several hosts, {_server(record)}\n")
    page.parts.append(texts.HOSTS)
    _of_several(record, page, "hosts", lambda workers, _: workers)


def _of_several(record: Record, page: Document, what: str, each: Callable[[int, int], int]) -> None:
    """The rates of so many services or hosts, and what they are to that of one; ``each`` says how
    many workers each of them has."""
    rows = [
        cells.services_row(rounds, system, number, each(int(workers), int(number)))
        for workers, rounds in record.runs.items()
        for system in sorted(rounds[0])
        for number in rounds[0][system]
    ]
    head = ["", what, "workers of each", "a second", f"to one {what.removesuffix('s')}"]
    page.table([*head, "parents' ms", "workers' ms", "servers' ms"], rows)


def _fork_per_job(record: Record, page: Document) -> None:
    page.parts.append(f"## A fork for each job, {_server(record)}\n")
    page.parts.append(texts.FORK_PER_JOB)
    rows = [
        [workers, *cells.fork_row(rounds, one)]
        for workers, rounds in record.runs.items()
        for one in systems(rounds, partial(cells.middle, rounds))
    ]
    page.table(
        ["workers", "", "a second", "to the loop", "to one child at a time", "django-async to it"],
        rows,
    )


def _backlog(record: Record, page: Document) -> None:
    page.parts.append(f"## Backlog, {_server(record)}\n")
    page.parts.append(texts.BACKLOG)
    [[found]] = record.runs.values()
    depths, aged = found[OWN]["depths"], found[OWN]["aged"]
    page.table(
        ["rows of each kind", "priorities", *cells.BACKLOG_HEAD],
        [[f"{one['size']:,}", str(one["priorities"]), *cells.backlog_row(one)] for one in depths],
    )
    _plans("from the largest backlog", depths[-1], page)
    page.parts.append(texts.AGED.format(size=aged["size"]))
    moments = {"before": "before", "beside": "beside the transaction", "after": "after its end"}
    rows = [[said, *cells.aged_row(aged[moment])] for moment, said in moments.items()]
    page.table(["", *cells.AGED_HEAD], rows)
    _plans("beside the transaction", aged, page)


def _plans(where: str, found: dict[str, Any], page: Document) -> None:
    plans = "\n\n".join(found["explain"])
    page.parts.append(
        f"<details><summary>How the database carries out the fetch {where}</summary>"
        f"\n\n```\n{plans}\n```\n\n</details>\n"
    )


def _notify(record: Record, page: Document) -> None:
    page.parts.append(f"## NOTIFY, {_server(record)}\n")
    page.parts.append(texts.NOTIFY)
    [rounds] = record.runs.values()
    rows = []
    for number in rounds[0][OWN]:
        rates = [[one[OWN][number][form] for one in rounds] for form in ("off", "after", "inside")]
        rows.append([number, *(spread(values).show() for values in rates)])
    page.table(["processes", "off", "after", "inside"], rows)


def _server(record: Record) -> str:
    return record.server.partition(" (")[0]


def _conditions(record: Record) -> str:
    """By whom, when, where and with what it was measured."""
    rounds = max(map(len, record.runs.values()))
    lines = [
        f"`{record.command}`, {record.date}; number of rounds: {rounds}.",
        f"Machine: {'; '.join(record.machine.values())}.",
        f"Servers: {'; '.join(filter(None, (record.server, record.redis)))}.",
    ]
    out = [f"{name} ({why})" for name, why in record.left_out.items()]
    lines += [f"Left out: {'; '.join(out)}."] if out else []
    versions = [
        f"{name}: {', '.join(f'{package} {number}' for package, number in them.items())}"
        for name, them in record.versions.items()
    ]
    listed = "\n".join(f"- {line}" for line in [*lines, *versions])
    return f"<details><summary>Conditions</summary>\n\n{listed}\n\n</details>\n"


def _promises() -> str:
    rows = [
        [one.name, one.run, one.promises.joins, one.promises.atomic, one.promises.killed]
        for one in BY_NAME.values()
        if one.promises
    ]
    head = ["", "run as", "joins the transaction", "job and mark atomic", "worker killed: its job"]
    return (
        "## What each promises\n\nWhat was seen when a worker was killed inside a job, at the"
        f" versions named above.\n\n{table(head, rows)}"
    )


SECTIONS: dict[str, Callable[[Record, Document], None]] = {
    "throughput": _throughput,
    "enqueue": _enqueue,
    "latency": _latency,
    "scaling": _scaling,
    "services": _services,
    "hosts": _hosts,
    "fork-per-job": _fork_per_job,
    "backlog": _backlog,
    "memory": _memory,
    "notify": _notify,
}
