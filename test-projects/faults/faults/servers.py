"""Private database servers, which the suite may kill and restart: the machine's are not its own.

A server lives in a temporary folder, listens on a free port of the loopback, and is stopped when
its context ends. Both refuse to run as root, who has to lend them the account that their package
made for them.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from faults.scale import NotHere

PATIENCE = 60.0
"""Seconds that a server has to begin or to end."""

_PR_SET_PDEATHSIG = 1


class Server(ABC):
    """A server of the suite's own, by its process and its port."""

    account: ClassVar[str]
    """Whose rights it gets if the suite runs as root."""
    end_signal: ClassVar[signal.Signals]
    """Makes it end in good order, without waiting for its clients."""
    crash_signal: ClassVar[signal.Signals]
    """Makes it end as in a crash: it recovers when it starts again."""

    def __init__(self, folder: Path, environment: dict[str, str], address: str = "") -> None:
        self.folder = folder
        self.environment = environment
        self.addresses = ["127.0.0.1", *filter(None, [address])]
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def create(self) -> None:
        """Make its files."""

    @abstractmethod
    def command(self) -> list[str]:
        """The command line of the server itself."""

    @abstractmethod
    def knock(self) -> None:
        """Open a session and close it; raise the driver's error if that cannot be done."""

    @property
    def settings(self) -> dict[str, str]:
        """What Django has to know to get there."""
        return {"HOST": "127.0.0.1", "PORT": str(self.port), "PASSWORD": ""}

    def start(self) -> None:
        """Start it, and return when it opens sessions."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                stdout=log,
                stderr=log,
                cwd=self.folder,
                preexec_fn=_die_with_suite,
                **self._rights(),
            )
        self._wait_until_open(self._process)

    def stop(self) -> None:
        """End it in good order. It is well if it runs no more."""
        self._end(self.end_signal)

    def crash(self) -> None:
        """End it at once, as a loss of power would, but for what the disk has."""
        self._end(self.crash_signal)

    def restart(self, *, immediate: bool = False) -> None:
        """Stop it, or crash it, and start it again on the same port."""
        if immediate:
            self.crash()
        else:
            self.stop()
        self.start()

    def _end(self, signum: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(signum)
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _run(self, *command: str) -> None:
        """Run a command of the server's package with the server's rights."""
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            check=False,
            **self._rights(),
        )
        if done.returncode:
            raise NotHere(f"{command[0]} failed:\n{done.stdout.decode(errors='replace')}")

    def _rights(self) -> dict[str, Any]:
        """Process options that drop root's rights, where there are any to drop."""
        # Without the mark by which the suite knows what a scenario has left behind, and where a
        # terminal's Ctrl-C does not reach.
        environment = {**os.environ, **self.environment}
        environment.pop("FAULTS_FOLDER", None)
        rights: dict[str, Any] = {"env": environment, "start_new_session": True}
        if os.geteuid() == 0:
            owner = pwd.getpwnam(self.account)
            rights |= {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        return rights

    def _wait_until_open(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            if process.poll() is not None:
                raise NotHere(f"the server ended at its start:\n{self._last_words()}")
            try:
                return self.knock()
            except Exception:  # each driver has errors of its own
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.01)

    def _last_words(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-2000:]


class PostgreSQL(Server):
    """Without a socket file; what it has committed survives its own crash, not the machine's."""

    account = "postgres"
    end_signal = signal.SIGINT
    crash_signal = signal.SIGQUIT

    def create(self) -> None:
        options = ("--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale")
        self._run(_postgres("initdb"), *options, "--no-sync", f"--pgdata={self._data}")
        with Path(self._data, "pg_hba.conf").open("a") as access:
            access.write("host all all samenet trust\n")

    def command(self) -> list[str]:
        settings = {
            "port": self.port,
            "listen_addresses": ",".join(self.addresses),
            "unix_socket_directories": "",
            "fsync": "off",
            "max_connections": 50,
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [_postgres("postgres"), "-D", self._data, *options]

    def knock(self) -> None:
        import psycopg

        psycopg.connect(
            host="127.0.0.1", port=self.port, user="postgres", dbname="postgres", connect_timeout=2
        ).close()

    @property
    def settings(self) -> dict[str, str]:
        return {**super().settings, "USER": "postgres"}

    @property
    def _data(self) -> str:
        return str(self.folder / "data")


class MariaDB(Server):
    """Its root has no password, and gets in by the loopback."""

    account = "mysql"
    end_signal = signal.SIGTERM
    crash_signal = signal.SIGKILL

    def create(self) -> None:
        options = ("--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db")
        self._run(_program("mariadb-install-db"), *options, f"--datadir={self._data}")

    def command(self) -> list[str]:
        return [
            _program("mariadbd", "/usr/sbin/mariadbd"),
            "--no-defaults",
            f"--datadir={self._data}",
            f"--port={self.port}",
            f"--bind-address={','.join(self.addresses)}",
            f"--socket={self.folder / 'socket'}",
            f"--pid-file={self.folder / 'pid'}",
            # Written at each commit, though not forced to the disk: it survives its own crash.
            "--innodb-flush-log-at-trx-commit=2",
            "--innodb-buffer-pool-size=64M",
            "--skip-log-bin",
        ]

    def knock(self) -> None:
        import MySQLdb

        MySQLdb.connect(host="127.0.0.1", port=self.port, user="root", connect_timeout=2).close()

    @property
    def settings(self) -> dict[str, str]:
        return {**super().settings, "USER": "root"}

    @property
    def _data(self) -> str:
        return str(self.folder / "data")


KINDS: dict[str, type[Server]] = {"postgresql": PostgreSQL, "mysql": MariaDB}
"""By the vendor's name in Django."""


@contextmanager
def private_server(vendor: str, address: str = "", **environment: str) -> Iterator[Server]:
    """Within the block, there is a running server of this kind, and nothing is left of it after.

    It listens on this address as well as on the loopback. Its processes have this in their
    environment, beside the suite's own.

    Raises NotHere where the machine has no such program, or no account for it.
    """
    kind = KINDS[vendor]
    folder = Path(tempfile.mkdtemp(prefix=f"faults-{vendor}-"))
    try:
        _give_away(folder, kind.account)
        server = kind(folder, environment, address)
        server.create()
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _give_away(folder: Path, account: str) -> None:
    if os.geteuid() != 0:
        return
    try:
        owner = pwd.getpwnam(account)
    except KeyError:
        raise NotHere(f"it does not run as root, and there is no account {account!r}") from None
    os.chown(folder, owner.pw_uid, owner.pw_gid)


def _postgres(program: str) -> str:
    """A program of the newest PostgreSQL: Debian keeps them out of PATH."""
    folders = Path("/usr/lib/postgresql").glob(f"*/bin/{program}")
    by_version = sorted(folders, key=lambda path: int(path.parts[4]))
    return str(by_version[-1]) if by_version else _program(program)


def _program(name: str, *elsewhere: str) -> str:
    for place in (name, *elsewhere):
        if found := shutil.which(place):
            return found
    raise NotHere(f"there is no {name} on this machine")


def _die_with_suite() -> None:
    """In the server before it begins: a suite that is killed leaves no server running."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT, 0, 0, 0)
