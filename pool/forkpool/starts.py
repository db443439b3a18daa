"""Workers that do not start: how often that may happen, and the pauses in between."""

import time

from forkpool.errors import StartFailed

_ATTEMPTS = 5
_PAUSE = 0.1  # seconds, after the first failure; after each later one thrice that
_LONGEST_PAUSE = 2.0


class Starts:
    """Counts the attempts in a row that failed. Workers forked together are one attempt.

    Attributes:
        failed: number of attempts since a worker was ready.
        succeed: whether the latest of which the end is known has not failed.
        due: when to try again, on the monotonic clock.
        told: whether the caller knows that no worker can be started.
    """

    def __init__(self) -> None:
        self.failed = 0
        self.succeed = False
        self.due = 0.0
        self.told = False
        self._complaint = ""

    @property
    def paused(self) -> bool:
        return time.monotonic() < self.due

    @property
    def exhausted(self) -> bool:
        """Whether there is no point in trying again."""
        return self.failed >= _ATTEMPTS

    def failure(self) -> StartFailed:
        return StartFailed(f"{_ATTEMPTS} attempts to start a worker failed: {self._complaint}")

    def note_success(self) -> None:
        self.failed = 0
        self.succeed = True
        self.due = 0.0
        self.told = False

    def note_failure(self, attempt: int, complaint: str) -> None:
        """Count the attempt that was the n-th, if no other worker of it has failed before."""
        self._complaint = complaint
        self.succeed = False
        if attempt == self.failed:
            self.failed += 1
            self.due = time.monotonic() + min(_PAUSE * 3**attempt, _LONGEST_PAUSE)
