"""What the page says besides its figures."""

from __future__ import annotations

HEAD = """\
# Performance

This page is written by the benchmark itself. Each section names the command that gave its figures;
the raw ones are beside this page in `performance/`. [benchmarks/README.md](../benchmarks/README.md)
says how to run it, and how each figure is taken.

What counts here are the ratios. The yardstick is the work that cannot be saved: as many forked
processes as there are workers, each with a connection that it keeps, do in a plain loop what the
jobs do, one transaction each: `atomic()`, the same job, and one `UPDATE` of a row by its primary
key where a queue marks its job. A ratio of 0.5 means that the queue doubles the cost of such a job.

Each round measures everything once, side by side; a ratio is that of two figures of one round.
Figures are medians, with the lowest and the highest in brackets.
"""

WORKLOADS = {
    "W1": "a job that inserts one row through the ORM, in a transaction",
    "W2": "a job that does nothing; the yardstick is a transaction with nothing but its `UPDATE`",
    "W3": "20 ms of CPU",
    "W4": "50 ms of waiting; django-async with `atomic: False`, the yardstick in its transaction",
    "W4 in a transaction": "the same, for django-async in the job's transaction",
    "W5": "W1 with an argument of 10 kB",
}

ENQUEUE = """\
Jobs a second: one by one, each with a commit of its own; one by one inside one transaction; 10,000
in the fastest way that each documents. The yardstick is Django's own: `Model.save()` of the same
row, and `bulk_create()` of as many; behind django-async's rates stand the ratios to it.
"""

LATENCY = """\
Milliseconds from the return of an enqueue to the start of the job: with nothing else to do, and
while W1 jobs come at half the rate at which the system runs them; and the part of a CPU that it
takes while it has nothing to do.
"""

SILENCE = """\
After two seconds and more in which there was nothing to do, at a random moment ({probes} probes).
Where nothing wakes a service, it looks for jobs once in `POLL_MAX`, a second; on SQLite also when
somebody has committed, for which it looks each 50 ms (`POLL_MIN`).
"""

MEMORY = """\
MB after 500 jobs, with 4 workers, in a project of two apps: what all processes take together (PSS:
what several share counts once), the parents of it, a worker of it, and what a worker has to itself.
Then with an application that holds 100 MB of objects before its workers are there: what it adds to
all processes together, and what a worker has to itself.
"""

GROWTH = """\
The parent of django-async occupied {first:.1f} MB before {jobs:,} jobs that do nothing,
{half:.1f} MB after half of them and {last:.1f} MB at their end; a worker on average
{worker_first:.1f} and {worker_last:.1f} MB (RSS, what it shares with others included).
"""

SCALING = """\
W1 jobs a second; CPU milliseconds a job, by who spends them.
"""

SERVICES = """\
W1 jobs a second with as many workers in one service as in several: each has a parent of its own, as
on a host of its own. Here they share the machine, and no network lies between them and the server.
The yardstick's workers are forked by as many processes: what it loses so has to do with no queue.
CPU milliseconds a job.
"""

HOSTS = """\
W1 jobs a second on so many hosts, with as many workers on each: a network namespace is a host, and
the server one that they reach over a bridge. All of them are on the processors of one machine, so
more hosts are more load for it, and no more power. CPU milliseconds a job.
"""

FORK_PER_JOB = """\
Jobs a second that insert one row, where each has a process of its own. The bare loop is one process
that forks as many children at a time as there are workers, or one after the other; a child connects
through Django, inserts one row, and ends: no queue, no transaction. django-async runs with
`--max-jobs-per-worker 1`.
"""

BACKLOG = """\
As many rows wait as are executed, and as many as lie in the future. Milliseconds of reading the
next 64 jobs, and of `schedule()`; W2 jobs a second, over 200 of them, in one process without
workers.
"""

AGED = """\
A thousand jobs wait, and {size:,} before them have been executed: what is left of these in the
indexes cannot be removed while a transaction is open that is older. A service reads from the top
for a twentieth of the time then, and glances at what is new in between. A job's pick-up is from the
return of `schedule()` to its first line, in a service of two workers that has nothing else to do.
"""

NOTIFY = """\
`schedule()` calls a second of so many processes, each in a transaction of its own: without a
notification, with one right after the commit, and with one inside the transaction.
"""
