"""The servers on this machine: found, or (Redis) started for as long as the benchmark runs."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from benchmarks.environments import CannotRun

ENV = os.environ.get
PORTS = {"postgres": ("POSTGRES", "5432"), "mysql": ("MYSQL", "3306")}
TIMEOUT = 10.0
NUMBERS = range(15, -1, -1)
"""Redis' databases, in the order in which an empty one is looked for."""


def check_database(database: str) -> None:
    """Raise CannotRun where no server answers."""
    if database not in PORTS:
        return
    prefix, port = PORTS[database]
    place = ENV(f"{prefix}_HOST", "127.0.0.1"), int(ENV(f"{prefix}_PORT", port))
    try:
        socket.create_connection(place, timeout=TIMEOUT).close()
    except OSError as error:
        raise CannotRun(f"no server at {place[0]}:{place[1]} ({error})") from None


@contextmanager
def redis() -> Iterator[tuple[str, str] | None]:
    """The URL of an empty database, and a description; None if there is no Redis at all.

    REDIS_URL says where it is looked for. Nothing that is not the benchmark's is ever deleted.
    """
    place = urlsplit(ENV("REDIS_URL", "redis://127.0.0.1:6379"))
    host, port = place.hostname or "127.0.0.1", place.port or 6379
    if _answers(host, port):
        yield _empty_database(host, port)
    elif program := shutil.which("redis-server"):
        with _started(program) as port:
            yield _empty_database("127.0.0.1", port)
    else:
        yield None


@contextmanager
def _started(program: str) -> Iterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        options = f"--port {port} --bind 127.0.0.1 --save  --appendonly no --dir {folder}"
        process = subprocess.Popen([program, *options.split(" ")], stdout=subprocess.DEVNULL)
        try:
            end = time.monotonic() + TIMEOUT
            while not _answers("127.0.0.1", port):
                if time.monotonic() > end:
                    raise CannotRun(f"{program} was started and does not answer")
                time.sleep(0.05)
            yield port
        finally:
            process.terminate()
            process.wait()


def _answers(host: str, port: int) -> bool:
    try:
        return _ask(host, port, "PING").startswith("+PONG")
    except OSError:
        return False


def _empty_database(host: str, port: int) -> tuple[str, str]:
    for number in NUMBERS:
        if _ask(host, port, f"SELECT {number}", "DBSIZE").endswith(":0\r\n"):
            return f"redis://{host}:{port}/{number}", _describe(host, port)
    raise CannotRun(f"none of the databases 0 to 15 of the Redis at {host}:{port} is empty")


def _describe(host: str, port: int) -> str:
    lines = _ask(host, port, "INFO server").splitlines()
    version = next((line for line in lines if line.startswith("redis_version:")), ":?")
    saves = _ask(host, port, "CONFIG GET save").split("\r\n")[-2:-1]
    log = _ask(host, port, "CONFIG GET appendonly").split("\r\n")[-2:-1]
    shown = f"save = '{''.join(saves)}', appendonly = {''.join(log)}"
    return f"Redis {version.partition(':')[2]} ({shown})"


def _ask(host: str, port: int, *commands: str) -> str:
    """The answers to commands, as they come; the last one ends them."""
    with socket.create_connection((host, port), timeout=TIMEOUT) as connection:
        for command in [*commands, "QUIT"]:
            connection.sendall(f"{command}\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    return answer.decode().removesuffix("+OK\r\n")
