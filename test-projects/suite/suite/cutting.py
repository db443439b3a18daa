"""An exception of a signal's handler, at any line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from types import ModuleType
from typing import Any


class Cut(Exception):
    """Of a signal's handler."""


@contextmanager
def cut_at(number: int, module: ModuleType) -> Iterator[None]:
    """Within the block, the line of this number in the module is cut off."""
    lines = count()

    def trace(frame: Any, event: str, _: Any) -> Any:
        if frame.f_code.co_filename != module.__file__:
            return None
        if event == "line" and next(lines) == number:
            raise Cut
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)
