#!/usr/bin/env python
"""``manage.py`` as on a system without POSIX, as far as this one can pretend to be one.

Every module of both packages is imported there, and then the command is run. Django, the database's
driver and the standard library, which know how to do without, are imported before.
"""

import asyncio  # noqa: F401 - see above
import importlib
import os
import pkgutil
import select
import signal
import socket
import sys

import django
import multiprocess  # noqa: F401 - see above

MODULES = ("fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty")
NAMES = {
    os: (
        *("WNOHANG", "eventfd", "fork", "forkpty", "geteuid", "getpgid", "getpgrp", "getppid"),
        *("getuid", "killpg", "memfd_create", "nice", "pidfd_open", "pipe2", "register_at_fork"),
        *("sched_getaffinity", "setpgid", "setsid", "statvfs", "sysconf", "uname", "wait4"),
    ),
    select: ("epoll", "poll"),
    signal: (
        *("ITIMER_REAL", "SIGALRM", "SIGCHLD", "SIGCONT", "SIGHUP", "SIGKILL", "SIGPIPE"),
        *("SIGQUIT", "SIGSTOP", "SIGUSR1", "SIGUSR2", "alarm", "pidfd_send_signal"),
        *("pthread_kill", "pthread_sigmask", "setitimer", "sigpending", "sigwait"),
    ),
    socket: ("SCM_RIGHTS", "recv_fds", "send_fds"),
}


def take_posix_away() -> None:
    for name in MODULES:
        sys.modules[name] = None  # type: ignore[assignment]  # what makes an import fail
    for module, names in NAMES.items():
        for name in names:
            if hasattr(module, name):
                delattr(module, name)


def import_all(package: str) -> None:
    for found in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        importlib.import_module(found.name)


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "suite.settings")
    from django.core.management import execute_from_command_line
    from django.db import connection

    assert connection.vendor, "its driver is there"
    take_posix_away()
    django.setup()
    import_all("forkpool")
    import_all("django_async")
    execute_from_command_line(sys.argv)
