"""Django's settings of one system: BENCHMARK_SYSTEM names its module in systems/.

The databases are scratch ones, one a system: the driver makes them, and drops them at the end. The
file of SQLite lies beside this one, for a temporary folder may be in memory, where a commit costs
nothing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from benchmarks.catalogue import BY_MODULE

ENV = os.environ.get

SYSTEM = BY_MODULE[ENV("BENCHMARK_SYSTEM", "django_async")]
NAME = f"benchmark_{SYSTEM.module}"
SQLITE = str(Path(__file__).parent / f"{NAME}.sqlite3")

DATABASE = {
    "postgres": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": NAME,
        "HOST": ENV("POSTGRES_HOST", "127.0.0.1"),
        "PORT": ENV("POSTGRES_PORT", "5432"),
        "USER": ENV("POSTGRES_USER", "postgres"),
        "PASSWORD": ENV("POSTGRES_PASSWORD", ""),
        "TEST": {"NAME": NAME},
    },
    "mysql": {
        "ENGINE": "django.db.backends.mysql",
        "NAME": NAME,
        "HOST": ENV("MYSQL_HOST", "127.0.0.1"),
        "PORT": ENV("MYSQL_PORT", "3306"),
        "USER": ENV("MYSQL_USER", "root"),
        "PASSWORD": ENV("MYSQL_PASSWORD", ""),
        "TEST": {"NAME": NAME, "CHARSET": "utf8mb4"},
    },
    "sqlite": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": SQLITE,
        # Eight processes wait for one writer, and none of them may give up.
        "OPTIONS": {"timeout": 60},
        "TEST": {"NAME": SQLITE},
    },
}[ENV("BENCHMARK_DATABASE", "postgres")]

DATABASES: dict[str, Any] = {"default": {**DATABASE, "CONN_MAX_AGE": None}}
INSTALLED_APPS = ["django_async", "benchmarks"] if not SYSTEM.packages else ["benchmarks"]
SECRET_KEY = "for benchmarks only"
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"stderr": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
}

ASYNC = {"NOTIFY": ENV("BENCHMARK_NOTIFY", "1") == "1"}
REDIS_URL = ENV("BENCHMARK_REDIS", "redis://127.0.0.1:6379/15")

globals().update(SYSTEM.settings(int(ENV("BENCHMARK_WORKERS", "4"))))
