"""The jobs that wait in the dumps of django-async 0.7.3 (async/tests/legacy)."""

import json

from suite.models import Note


def note(*args: object, **kwargs: object) -> list[object]:
    """Leave a Note whose text is the call, as JSON `[args, kwargs]` with sorted keys.

    Returns the number of `args` and the sorted names of `kwargs`.
    """
    Note.objects.create(text=json.dumps([args, kwargs], sort_keys=True, ensure_ascii=False))
    return [len(args), sorted(kwargs)]


def fail(*args: object, **kwargs: object) -> None:
    """Leave a Note and raise ValueError, so that the Note must vanish."""
    note(*args, **kwargs)
    raise ValueError("This job always fails")


def unserialisable(*args: object, **kwargs: object) -> set[str]:
    """Leave a Note and return a set, which is no JSON, so that the Note must vanish."""
    note(*args, **kwargs)
    return {"a set"}
