"""Jobs whose behaviour is data, so that tests can make it up."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

from django.db import IntegrityError, connection, transaction

from django_async import current_job, schedule
from django_async.models import Job
from suite.models import Account, Note
from suite.together import DEADLINE

Op = list[Any]
"""A step of a program: its verb and what belongs to it, as JSON keeps it."""


class Planned(Exception):
    """The failure that a program asks for."""


class Undo(Exception):
    """Undoes the block that it leaves, and no more."""


def act(key: str, script: Sequence[str]) -> str:
    """Leave a note, then do what the script has for this attempt; after its end all goes well."""
    Note.objects.create(text=key)
    running = current_job()
    assert running is not None
    attempts = Job.objects.get(pk=running.id).attempts
    step = script[attempts] if attempts < len(script) else "ok"
    STEPS[step](key)
    return key


def echo(*args: Any, **kwargs: Any) -> list[Any]:
    """Return what it was given."""
    return [args, kwargs]


def run(program: Sequence[Op], result: Any = None) -> Any:
    """Run the program's steps, and return the result."""
    for verb, *operands in program:
        VERBS[verb](*operands)
    return result


def _raise(_: str = "") -> None:
    raise Planned("as planned")


def _leave(_: str = "") -> None:
    raise SystemExit(3)


def _close(_: str = "") -> None:
    connection.close()


def _mark(_: str = "") -> None:
    transaction.set_rollback(True)


def _die(_: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_all(_: str) -> None:
    """End the parent, and with it all of its workers, this one included."""
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(DEADLINE)


def _child(key: str) -> None:
    schedule(act, [f"child of {key}", []])


def _nothing(_: str) -> None:
    """All goes well."""


def _note(text: str) -> None:
    Note.objects.create(text=text)


def _rename(old: str, new: str) -> None:
    Note.objects.filter(text=old).update(text=new)


def _delete(text: str) -> None:
    Note.objects.filter(text=text).delete()


def _schedule(text: str) -> None:
    schedule(echo, [text])


def _hook(text: str) -> None:
    transaction.on_commit(lambda: _note(f"hook {text}"))


def _bad_hook() -> None:
    transaction.on_commit(_raise)


def _block(program: Sequence[Op], end: str) -> None:
    """A nested block, which keeps what it did (``keep``), or is undone."""
    try:
        with transaction.atomic():
            run(program)
            if end == "mark":
                _mark()
            elif end == "raise":
                raise Undo
    except Undo:
        pass


def _swallow(program: Sequence[Op]) -> None:
    try:
        run(program)
    except Exception:  # noqa: BLE001 - what many a job does, and should not
        pass


def _collide() -> None:
    """A database error that Django sees, and the job swallows."""
    try:
        Account.objects.create(name="taken")
    except IntegrityError:
        pass


def _collide_raw() -> None:
    """A database error that the server alone sees, and the job swallows."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO suite_account (name, balance) VALUES ('taken', 0)")
    except IntegrityError:
        pass


STEPS: dict[str, Callable[[str], None]] = {
    "ok": _nothing,
    "child": _child,
    "raise": _raise,
    "leave": _leave,
    "mark": _mark,
    "close": _close,
    "die": _die,
    "kill all": _kill_all,
}
"""What ``act`` can do in an attempt, by its name in a script."""

VERBS: dict[str, Callable[..., None]] = {
    "note": _note,
    "rename": _rename,
    "delete": _delete,
    "schedule": _schedule,
    "hook": _hook,
    "bad hook": _bad_hook,
    "block": _block,
    "swallow": _swallow,
    "collide": _collide,
    "collide raw": _collide_raw,
    "mark": _mark,
    "raise": _raise,
    "leave": _leave,
}
"""What a program can do, by the name of the verb."""


class Desk:
    """Functions in all the places where a job may live."""

    @classmethod
    def of_class(cls) -> str:
        return cls.__name__

    @staticmethod
    def static() -> str:
        return "static"

    def of_instance(self) -> str:
        return "of an instance"

    class Drawer:
        """A class in a class."""

        @staticmethod
        def static() -> str:
            return "in the drawer"


class Corner(Desk):
    """Inherits its functions."""
