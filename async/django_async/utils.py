"""Functions and their dotted paths: how a job names what it calls, and what may be named.

A stored name is data: whoever can write to the table could name anything. So a path is checked
*before* anything is imported, and resolving one never walks from a module into another one, except
as its submodule: ``logging.os.system`` is refused although it exists.
"""

from __future__ import annotations

import builtins
import inspect
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import Any

from django_async import conf
from django_async.errors import FunctionNotAllowed, UnknownFunction

SAFE_BUILTINS = frozenset(
    [
        "abs",
        "all",
        "any",
        "ascii",
        "bin",
        "bool",
        "chr",
        "dict",
        "divmod",
        "float",
        "hash",
        "hex",
        "int",
        "len",
        "list",
        "max",
        "min",
        "oct",
        "ord",
        "pow",
        "print",
        "range",
        "repr",
        "reversed",
        "round",
        "sorted",
        "str",
        "sum",
        "tuple",
        "zip",
    ]
)
"""The builtins that a name without a dot may mean: they reach neither files nor code."""

OWN_FUNCTIONS = frozenset({"django_async.api.remove_old_jobs"})
"""Jobs of this package, which no list of allowed functions has to repeat."""


def full_name(item: Callable[..., Any] | str) -> str:
    """The dotted path by which a worker finds ``item``: a path already, a function of a module, a
    class, a class method, a static method or a builtin.

    Raises TypeError or ValueError for what no path leads to: a lambda, a nested function, the
    method of an instance, a partial.
    """
    if isinstance(item, str):
        return canonical(item)
    if not callable(item):
        raise TypeError(f"A job is a function or the dotted path of one, not {item!r}.")
    return check_path(canonical(_path_of(item)))


def object_at_end_of_path(path: str) -> Any:
    """The callable that a dotted path leads to.

    Raises UnknownFunction, naming the path and what was wrong with it, and FunctionNotAllowed.
    """
    path = check_allowed(check_path(canonical(path)))
    if "." not in path:
        return getattr(builtins, path)
    target = _target_of(path)
    if not callable(target):
        raise UnknownFunction(f"{path!r} is {type(target).__name__}, which cannot be called.")
    if conf.current().allowed_functions is not None:
        check_allowed(own_name(target))
    return target


def target_of_path(path: str) -> Any:
    """Whatever a dotted path leads to. Raises as object_at_end_of_path(), and calls nothing."""
    return _target_of(check_allowed(check_path(canonical(path))))


def _target_of(path: str) -> Any:
    module, steps = _import_longest(path)
    return _walk(path, module, steps)


def canonical(path: str) -> str:
    """The path as it is stored now: 0.7.3's own functions lived under ``async.``."""
    return f"django_{path}" if path.startswith("async.") else path


@lru_cache(maxsize=1000)  # each job asks for one of them
def check_path(path: str) -> str:
    """Return the path if it is well formed; importing nothing.

    Raises UnknownFunction (a ValueError) otherwise.
    """
    steps = path.split(".")
    if not all(step.isidentifier() for step in steps):
        raise UnknownFunction(f"{path!r} is not a dotted path such as 'shop.jobs.send'.")
    if any(step.startswith("__") and step.endswith("__") for step in steps):
        raise UnknownFunction(f"{path!r} has a double-underscore step, which no job may take.")
    if len(steps) == 1 and path not in SAFE_BUILTINS:
        raise UnknownFunction(
            f"{path!r} has no dot and is not one of the builtins that a bare name may mean:"
            " give the whole path, such as 'shop.jobs.send'."
        )
    return path


def check_allowed(path: str) -> str:
    """Return the path if the settings allow it. Raises FunctionNotAllowed."""
    allowed = conf.current().allowed_functions
    if allowed is None or path in OWN_FUNCTIONS or any(has_prefix(path, one) for one in allowed):
        return path
    listed = ", ".join(map(repr, allowed))
    raise FunctionNotAllowed(
        f'{path!r} is not allowed by ASYNC["ALLOWED_FUNCTIONS"], which has {listed}.'
    )


def has_prefix(path: str, prefix: str) -> bool:
    """Whether a path is what the prefix of a setting means, or below it."""
    return path == prefix or path.startswith(prefix if prefix.endswith(".") else f"{prefix}.")


def _path_of(item: Callable[..., Any]) -> str:
    owner = getattr(item, "__self__", None)
    if inspect.ismethod(item) and inspect.isclass(owner):
        return f"{owner.__module__}.{owner.__qualname__}.{item.__name__}"
    name = getattr(item, "__qualname__", None)
    if name is None or not (owner is None or inspect.ismodule(owner)):
        raise TypeError(f"{item!r} has no dotted path of its own: give a function of a module.")
    if "<" in name:
        raise ValueError(
            f"{item.__module__}.{name} is a lambda or a nested function: a worker cannot find it"
            " by its path. Give a function of a module."
        )
    if item.__module__ == "__main__":
        raise ValueError(
            f"{name} lives in __main__, which workers cannot import: move it to a module."
        )
    return f"{item.__module__}.{name}"


def own_name(target: Any) -> str:
    """Where a callable itself says that it lives; of an instance, where its class does."""
    named = target if hasattr(target, "__qualname__") else type(target)
    return f"{named.__module__}.{named.__qualname__}"


def _import_longest(path: str) -> tuple[ModuleType, list[str]]:
    """Import the longest part of the path that is a module; the other steps lead into it."""
    steps = path.split(".")
    for length in range(len(steps) - 1, 0, -1):
        name = ".".join(steps[:length])
        try:
            return import_module(name), steps[length:]
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise UnknownFunction(f"Importing {name!r} for {path!r} failed: {error}") from error
        except ImportError as error:
            raise UnknownFunction(f"Importing {name!r} for {path!r} failed: {error}") from error
    raise UnknownFunction(f"There is no module {steps[0]!r}, which {path!r} starts with.")


def _walk(path: str, module: ModuleType, steps: list[str]) -> Any:
    target: Any = module
    for step in steps:
        try:
            target = getattr(target, step)
        except AttributeError as error:
            raise UnknownFunction(f"{path!r} leads nowhere: {error}") from error
        if inspect.ismodule(target):
            raise UnknownFunction(f"{path!r} walks from one module into another, at {step!r}.")
    return target
