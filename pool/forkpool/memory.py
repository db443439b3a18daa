"""How much memory a process has, and how much it may have."""

import sys
import traceback
from pathlib import Path

try:
    import resource
except ImportError:  # Windows
    HAS_LIMITS = False
else:
    HAS_LIMITS = True

_STATM = Path("/proc/self/statm")


def limit_memory(size: int) -> None:
    """Have allocations fail when the process's address space would be greater than this.

    Raises:
        MemoryError: it is so already.
    """
    if _STATM.exists() and (present := _bytes_of(0)) > size:
        raise MemoryError(f"the process begins with {present:,} bytes, its limit is {size:,}")
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size, hard))


def memory_limit() -> int | None:
    """The limit that is in force, whoever has set it."""
    if not HAS_LIMITS:
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if soft == resource.RLIM_INFINITY else soft


def explain_memory_error(error: BaseException) -> None:
    """Note on a MemoryError which limit this process has, if it has one.

    What the ended frames of its traceback hold is let go: there must be memory to report it.
    """
    limit = memory_limit()
    if not isinstance(error, MemoryError) or limit is None:
        return
    traceback.clear_frames(error.__traceback__)
    note = f"The address space of this process is limited to {limit:,} bytes (RLIMIT_AS)."
    if note not in getattr(error, "__notes__", ()):
        error.add_note(note)


def resident() -> int:
    """Bytes of memory that the process occupies, those included that it shares with its parent.

    Where the kernel does not tell, it is the most that the process ever occupied.
    """
    if _STATM.exists():
        return _bytes_of(1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _bytes_of(field: int) -> int:
    return int(_STATM.read_text().split()[field]) * resource.getpagesize()
