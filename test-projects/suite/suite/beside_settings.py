"""The suite's settings for a process beside a running test: its databases are the test's own."""

from __future__ import annotations

import os

from suite.settings import *  # noqa: F403 - this module is that one, but for the name
from suite.settings import DATABASES

DATABASES["default"]["NAME"] = os.environ["TEST_DATABASE"]
DATABASES["other"]["NAME"] = os.environ["TEST_DATABASE_OTHER"]
