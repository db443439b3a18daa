"""What differs between the supported versions of Django."""

from __future__ import annotations

import django
from django.db.models import CheckConstraint, Q


def check_constraint(condition: Q, name: str) -> CheckConstraint:
    """A check constraint: Django 5.1 renamed ``check`` to ``condition``; 6.0 dropped it."""
    keyword = "condition" if django.VERSION >= (5, 1) else "check"
    return CheckConstraint(**{keyword: condition, "name": name})  # type: ignore[arg-type]
