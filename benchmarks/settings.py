"""Settings of the benchmark: each database under its own alias, so that one process serves them.

The databases are scratch ones: the benchmark makes them, and drops them at its end. The file of
SQLite lies beside this one, for a temporary folder may be in memory, where a commit costs nothing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

ENV = os.environ.get

POSTGRES = MYSQL = "django_async_benchmark"
SQLITE = str(Path(__file__).parent / "scratch.sqlite3")

DATABASES: dict[str, Any] = {
    "default": {},
    "postgres": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": POSTGRES,
        "HOST": ENV("POSTGRES_HOST", "127.0.0.1"),
        "PORT": ENV("POSTGRES_PORT", "5432"),
        "USER": ENV("POSTGRES_USER", "postgres"),
        "PASSWORD": ENV("POSTGRES_PASSWORD", ""),
        "TEST": {"NAME": POSTGRES},
    },
    "sqlite": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": SQLITE,
        # Eight processes of the yardstick wait for one writer, and none of them may give up.
        "OPTIONS": {"timeout": 60},
        "TEST": {"NAME": SQLITE},
    },
}
if ENV("BENCHMARK_MYSQL"):  # Django looks at all of them when it starts
    DATABASES["mysql"] = {
        "ENGINE": "django.db.backends.mysql",
        "NAME": MYSQL,
        "HOST": ENV("MYSQL_HOST", "127.0.0.1"),
        "PORT": ENV("MYSQL_PORT", "3306"),
        "USER": ENV("MYSQL_USER", "root"),
        "PASSWORD": ENV("MYSQL_PASSWORD", ""),
        "TEST": {"NAME": MYSQL, "CHARSET": "utf8mb4"},
    }
INSTALLED_APPS = ["django_async", "benchmarks"]
SECRET_KEY = "for benchmarks only"
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

ASYNC = {"NOTIFY": bool(ENV("BENCHMARK_NOTIFY", "1"))}
