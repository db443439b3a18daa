#!/usr/bin/env python
"""Pictures of the queue's pages in the admin, for the docs: what `./rundemo --screenshots` runs.

A warehouse is filled in a scratch database: the orders of one import are shipped, those of a second
one wait behind two long jobs, and a queue is paused. Then Debian's Chromium looks at it.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parents[1] / "docs" / "admin"
MANAGE = (sys.executable, str(HERE / "manage.py"))

DEADLINE = 120.0
"""Seconds that anything of this may take."""

DASHBOARD = "/admin/async/job/dashboard/?every=3600"
WIDE, PHONE = (1280, 1000), (360, 1300)
PICTURES: dict[str, tuple[str, tuple[int, int], bool]] = {
    "dashboard": (DASHBOARD, WIDE, False),
    "dashboard-dark": (DASHBOARD, WIDE, True),
    "dashboard-phone": (DASHBOARD, PHONE, False),
    "jobs": ("/admin/async/job/", WIDE, False),
    "jobs-phone": ("/admin/async/job/?state=discarded", PHONE, False),
    "job": ("/admin/async/job/{failed}/change/", WIDE, False),
    "job-dark": ("/admin/async/job/{failed}/change/", WIDE, True),
    "groups": ("/admin/async/group/", WIDE, False),
    "errors": ("/admin/async/error/kinds/", WIDE, False),
}
"""For each file: the page, how large the window is, and whether it is dark. ``{failed}`` is the id
of a job that has failed."""

sys.path[:0] = [str(HERE), str(HERE.parent / "suite")]


def main() -> None:
    """Fill a warehouse, and take all pictures."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["WAREHOUSE_FILE"] = str(Path(folder, "warehouse.sqlite3"))
        os.environ["WAREHOUSE_DATABASE"] = "sqlite"
        os.environ["DJANGO_SETTINGS_MODULE"] = "warehouse.settings"
        import django

        django.setup()
        fill()
        with background("flush_queue", "--forever", "--workers=2"), served() as address:
            wait_until(works_at_two, "the work on two long jobs")
            take(address)


def fill() -> None:
    """What there is to be seen."""
    from django_async import schedule
    from django_async.api import pause_queue
    from warehouse.jobs import take_stock

    manage("migrate", "--verbosity=0")
    manage("import_orders")
    manage("flush_queue", "--workers=2", "--keep-going", "--verbosity=0", status=1)
    for shelf, steps in (("A to M", 100), ("N to Z", 160)):
        args = [shelf, steps, 0.25]
        schedule(take_stock, args, priority=9, queue="stock", meta={"atomic": False})
    pause_queue("reports")
    manage("import_orders")


def works_at_two() -> bool:
    """Whether both long jobs have come some way."""
    from django_async.roster import entries

    return sum((entry.run.done or 0) > 30 for entry in entries("default")) == 2


def take(address: str) -> None:
    """Take the pictures."""
    from django.contrib.auth.models import User

    from django_async.models import Job
    from suite.browsing import Browser, chromium

    failed = Job.objects.discarded().order_by("pk")[0].pk
    FOLDER.mkdir(exist_ok=True)
    user = User.objects.create_superuser("demo")
    with chromium() as driver:
        browser = Browser(driver, address)
        for name, (page, size, dark) in PICTURES.items():
            browser.clear()
            browser.forgive("favicon.ico")  # which the development server does not have
            browser.resize(*size)
            browser.set_dark(dark=dark)
            browser.log_in(user)
            browser.open(page.format(failed=failed))
            browser.screenshot(FOLDER / f"{name}.png")
            assert browser.complaints() == []
            print(f"{name}.png  {(FOLDER / f'{name}.png').stat().st_size // 1024} kB")


def manage(*arguments: str, status: int = 0) -> None:
    """Run a command of the warehouse to its end."""
    done = subprocess.run([*MANAGE, *arguments], timeout=DEADLINE, check=False)
    assert done.returncode == status, arguments


@contextmanager
def background(*arguments: str) -> Iterator[None]:
    """Within the block, a command of the warehouse runs."""
    nowhere = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([*MANAGE, *arguments], **nowhere) as process:
        try:
            yield
        finally:
            process.send_signal(signal.SIGQUIT if "flush_queue" in arguments else signal.SIGTERM)


@contextmanager
def served() -> Iterator[str]:
    """Within the block, the development server runs; its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with background("runserver", "--noreload", f"127.0.0.1:{port}"):
        wait_until(lambda: answers(port), "the server's start")
        yield f"http://127.0.0.1:{port}"


def answers(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def wait_until(happened: Callable[[], bool], what: str) -> None:
    """Wait for an event, and fail without it."""
    end = time.monotonic() + DEADLINE
    while not happened():
        assert time.monotonic() < end, f"{what} did not happen"
        time.sleep(0.1)


if __name__ == "__main__":
    main()
