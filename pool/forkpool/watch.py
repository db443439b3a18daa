"""What the parent waits for, all at once: its children, and whoever wants it to wake up."""

import select
import selectors
from collections.abc import Callable, Iterable
from contextlib import suppress

from forkpool.channel import Channel

_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class Watch:
    """One epoll (or kqueue) for the life of a pool.

    Args:
        wakeup: a descriptor that is watched from start() on.

    Attributes:
        woken: whether a wake-up was readable since this was last set to False.
    """

    def __init__(self, wakeup: int | None) -> None:
        self._selector = selectors.DefaultSelector()
        self._wakeup = wakeup
        self._others: set[int] = set()  # wake-ups of one call of wait()
        self.woken = False

    def start(self) -> None:
        if self._wakeup is not None:
            self._selector.register(self._wakeup, _READ, self._wake_up)

    def stop(self) -> None:
        """Heed no wake-up any more."""
        self.wakeups(())
        if self._wakeup is not None:
            self.drop(self._wakeup)

    def close(self) -> None:
        self._selector.close()

    def wakeups(self, wanted: Iterable[int]) -> None:
        """These beside the one that stays, and no others. The exception of a signal's handler may
        have left some, whose numbers may belong to somebody else by now.

        Raises:
            OSError, ValueError: one of them cannot be watched.
        """
        for descriptor in self._others:
            self.drop(descriptor)
        others = set(wanted) - {self._wakeup}
        if min(others, default=0) < 0:
            raise ValueError(f"a descriptor is not negative, as {min(others)} is")
        self._others = others
        for descriptor in others:
            self._selector.register(descriptor, _READ, self._wake_up)

    def let_go(self) -> None:
        """Watch the wake-ups of this call no more, which is over then: the next one names others
        if they have been closed meanwhile."""
        self.woken = self.woken or bool(self._others)
        self.wakeups(())

    def _wake_up(self, _writable: bool) -> None:
        self.woken = True

    def add(self, source: Channel | int, act: Callable[[bool], None]) -> None:
        """Have something done when the source is readable; it is told whether it is writable."""
        self._selector.register(source, _READ, act)

    def also_writable(self, channel: Channel, watched: bool) -> None:
        """Whether that too is waited for."""
        act = self._selector.get_key(channel).data
        self._selector.modify(channel, _READ | _WRITE if watched else _READ, act)

    def drop(self, source: Channel | int) -> None:
        with suppress(KeyError):  # it is not watched
            self._selector.unregister(source)

    def rest(self, seconds: float, deaths: Iterable[int]) -> None:
        """Sleep, until a wake-up or one of these is readable: whatever else there is waits."""
        wakeups = self._others if self._wakeup is None else {self._wakeup, *self._others}
        poll = select.poll()
        for descriptor in (*wakeups, *deaths):
            poll.register(descriptor, select.POLLIN)
        poll.poll(1000 * seconds)

    def look(self, timeout: float | None) -> list[tuple[Callable[[bool], None], bool]]:
        """What is to be done, and what to tell it, after so many seconds at the latest."""
        looks = self._selector.select(timeout)
        return [(key.data, bool(events & _WRITE)) for key, events in looks]
