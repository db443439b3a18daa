"""What tests of the admin's pages have in common."""

from __future__ import annotations

import re
from typing import Any

SCRIPT = "<script>document.title = 'taken'</script>"

HOSTILE = [
    SCRIPT,
    '"><img src="/x" onerror="document.title = 1">',
    "\u202egnp.exe",
    "a\x07\x1b[31mb",
    "x" * 1_000_000,
]
"""Texts that somebody may have brought along."""

HOSTILE_NAME = f"{SCRIPT}\u202e{'x' * 150}"
"""The like for what has a name, which no database cuts."""

_LARGE = r"(?<!LEFT\()(?<!SUBSTR\()(?<!LENGTH\()(.)async_job\1\.\1(args|kwargs|result)\1"


def words(page: Any) -> str:
    """What is to be read on a page, with a space for each gap."""
    return re.sub(r"(<[^>]*>|\s)+", " ", page.content.decode())


def reads_large(sql: str) -> bool:
    """Whether a statement reads something large of jobs, and not only its beginning or length."""
    return re.search(_LARGE, sql.partition(" WHERE ")[0]) is not None
