"""The suite's settings for a process beside a running test: its databases are the test's own."""

from __future__ import annotations

import json
import os

from suite.settings import *  # noqa: F403 - this module is that one, but for the name
from suite.settings import DATABASES, INSTALLED_APPS

DATABASES["default"]["NAME"] = os.environ["TEST_DATABASE"]
DATABASES["other"]["NAME"] = os.environ["TEST_DATABASE_OTHER"]
INSTALLED_APPS += os.environ.get("TEST_APPS", "").split()

ASYNC = json.loads(os.environ.get("TEST_ASYNC", "{}"))
"""The queue's settings, for tests that say so to manage()."""
