"""Functions and their dotted paths: round trips, and what is refused without an import."""

from __future__ import annotations

import builtins
import functools
import importlib
import inspect
import pickle
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any
from unittest import mock

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from django_async import utils
from django_async.errors import UnknownFunction
from django_async.utils import SAFE_BUILTINS, full_name, object_at_end_of_path
from suite.programs import Corner, Desk

MODULES = [
    importlib.import_module(name)
    for name in (
        *("base64", "builtins", "collections", "decimal", "email.utils", "fractions", "inspect"),
        *("json", "json.decoder", "logging", "logging.handlers", "math", "operator", "os"),
        *("os.path", "posixpath", "random", "shutil", "statistics", "string", "subprocess"),
        *("textwrap", "threading", "urllib.parse", "xml.etree.ElementTree"),
        *("django.core.management", "django.utils.text", "django_async.api", "suite.jobs"),
    )
]
"""What a stored path could try to walk through."""

NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
MALFORMED_STEPS = st.one_of(
    st.sampled_from(["", " ", "a b", "1", "a-b", "()", "a;b", "os\n", "*", "a/b", "\0"]),
    st.text(max_size=5).filter(lambda step: not step.isidentifier()),
    NAMES.map(lambda name: f"__{name}__"),
)


def _public(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """The module's attributes, dunder ones left out."""
    for name in sorted(vars(module)):
        if not name.startswith("__"):
            yield name, getattr(module, name)


def _is_found_by_pickle(target: Any) -> bool:
    """Whether pickle, which goes by module and qualified name too, finds the callable again."""
    try:
        return pickle.loads(pickle.dumps(target)) is target
    except Exception:
        return False


def _has_plain_path(target: Any) -> bool:
    path = f"{getattr(target, '__module__', '')}.{getattr(target, '__qualname__', '')}"
    return not any(step.startswith("__") for step in path.split("."))


FUNCTIONS = [
    value
    for module in MODULES
    for _, value in _public(module)
    if (inspect.isroutine(value) or inspect.isclass(value))
    and _has_plain_path(value)
    and _is_found_by_pickle(value)
    and value is not super  # no job: it means something only within a class
]
OF_CLASSES = [
    Desk,
    Desk.of_class,
    Desk.static,
    Desk.of_instance,
    Desk.Drawer,
    Desk.Drawer.static,
    Corner.of_class,
    Corner.static,
]
NEIGHBOURS = [
    (module.__name__, name)
    for module in MODULES
    for name, value in _public(module)
    if inspect.ismodule(value) and f"{module.__name__}.{name}" not in sys.modules
]
"""Modules that other modules have imported for their own use."""


@given(st.sampled_from(FUNCTIONS))
def test_a_function_is_found_again_by_its_full_name(function: Callable[..., Any]) -> None:
    path = full_name(function)

    assert object_at_end_of_path(path) == function
    assert full_name(path) == path


@given(st.sampled_from(OF_CLASSES))
def test_functions_of_classes_are_found_again(function: Callable[..., Any]) -> None:
    assert object_at_end_of_path(full_name(function)) == function


@given(st.sampled_from(FUNCTIONS))
def test_what_no_path_leads_to_is_refused(function: Callable[..., Any]) -> None:
    def nested() -> None:
        """Lives in a function."""

    for lost in (lambda: function(), nested, functools.partial(function), Desk().of_instance):
        with pytest.raises((TypeError, ValueError)):
            full_name(lost)


@given(st.none() | st.integers() | st.floats() | st.lists(st.text()) | st.binary())
def test_what_is_no_function_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="function"):
        full_name(value)


@given(st.lists(NAMES, max_size=3), MALFORMED_STEPS, st.lists(NAMES, max_size=3))
@example(["antigravity"], "__init__", [])
def test_a_malformed_path_is_refused_and_nothing_is_imported(
    before: list[str], malformed: str, after: list[str]
) -> None:
    path = ".".join(["antigravity", *before, malformed, *after])
    loaded = set(sys.modules)

    with mock.patch.object(utils, "import_module") as importing, pytest.raises(UnknownFunction):
        object_at_end_of_path(path)

    importing.assert_not_called()
    assert set(sys.modules) == loaded


@given(NAMES | st.sampled_from(sorted(set(dir(builtins)) - SAFE_BUILTINS)))
def test_a_bare_name_means_a_safe_builtin_or_nothing(name: str) -> None:
    assume(name not in SAFE_BUILTINS)
    with pytest.raises(UnknownFunction):
        object_at_end_of_path(name)


@given(st.sampled_from(sorted(SAFE_BUILTINS)))
def test_safe_builtins_are_found_by_their_bare_name(name: str) -> None:
    assert object_at_end_of_path(name) is getattr(builtins, name)


@given(st.sampled_from(NEIGHBOURS), st.data())
def test_no_path_walks_from_a_module_into_its_neighbour(
    neighbours: tuple[str, str], data: st.DataObject
) -> None:
    module, name = neighbours
    neighbour = getattr(sys.modules[module], name)
    inside = data.draw(st.sampled_from([attribute for attribute, _ in _public(neighbour)]))

    for path in (f"{module}.{name}", f"{module}.{name}.{inside}"):
        with pytest.raises(UnknownFunction):
            object_at_end_of_path(path)


@given(st.data())
def test_a_path_that_resolves_never_passed_through_a_module_that_it_did_not_import(
    data: st.DataObject,
) -> None:
    """Random walks along real attributes, as deep as they go."""
    module = data.draw(st.sampled_from(MODULES))
    path, strayed = module.__name__, False
    target: Any = module
    for _ in range(data.draw(st.integers(1, 4))):
        steps = [name for name in sorted(dir(target)) if not name.startswith("__")]
        if not steps:
            break
        step = data.draw(st.sampled_from(steps))
        path, target = f"{path}.{step}", getattr(target, step, None)
        strayed = strayed or (inspect.ismodule(target) and path not in sys.modules)

    try:
        found = object_at_end_of_path(path)
    except UnknownFunction:
        assert strayed or not callable(target)
    else:
        assert not strayed
        assert callable(found)
