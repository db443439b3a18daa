"""Wall clocks that the suite sets, each for some processes: of a host, or of a server."""

from __future__ import annotations

import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from faults.scale import NotHere

SOURCE = Path(__file__).with_name("clock.c")


class Clock:
    """A clock for the processes that have its environment.

    Attributes:
        environment: what these processes need in theirs.
    """

    def __init__(self, library: Path, file: Path) -> None:
        self._file = file
        self.environment = {"LD_PRELOAD": str(library), "CLOCK_FILE": str(file)}
        self._shift(0)

    def set(self, moment: float) -> None:
        """Let it show this moment, in seconds of the epoch, and go on from there."""
        self._shift(round(moment - time.time()))

    def _shift(self, seconds: int) -> None:
        # In place: the processes have the file in their memory.
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("q", seconds))


@contextmanager
def clocks(*names: str) -> Iterator[list[Clock]]:
    """Within the block, there are clocks of these names, which everybody may read.

    Raises NotHere without a C compiler.
    """
    folder = Path(tempfile.mkdtemp(prefix="faults-clocks-"))
    try:
        folder.chmod(0o755)  # a server that runs under another account reads them too
        library = _compile(folder)
        yield [Clock(library, folder / name) for name in names]
    finally:
        shutil.rmtree(folder)


def _compile(folder: Path) -> Path:
    library = folder / "clock.so"
    if not (compiler := shutil.which("cc") or shutil.which("gcc")):
        raise NotHere("there is no C compiler for the clocks")
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotHere(f"the clocks could not be compiled: {done.stderr.strip()}")
    return library
