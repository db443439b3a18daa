"""Settings of the fault suite: the environment variable DATABASE says on which database it
runs."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from typing import Any

import django

from faults.place import FOLDER

ENV = os.environ.get


def sqlite() -> dict[str, Any]:
    name = ENV("SQLITE_NAME", "faults.sqlite3")
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(FOLDER / name)}


def postgres() -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": f"{ENV('POSTGRES_NAME', 'test_suite')}_faults",
        "HOST": ENV("POSTGRES_HOST", "127.0.0.1"),
        "PORT": ENV("POSTGRES_PORT", "5432"),
        "USER": ENV("POSTGRES_USER", "postgres"),
        "PASSWORD": ENV("POSTGRES_PASSWORD", ""),
    }


def mysql() -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.mysql",
        "NAME": f"{ENV('MYSQL_NAME', 'test_suite')}_faults",
        "HOST": ENV("MYSQL_HOST", "127.0.0.1"),
        "PORT": ENV("MYSQL_PORT", "3306"),
        "USER": ENV("MYSQL_USER", "root"),
        "PASSWORD": ENV("MYSQL_PASSWORD", ""),
        "OPTIONS": {"charset": "utf8mb4"},
    }


DATABASE = ENV("DATABASE", "sqlite")
DATABASES = {"default": {"sqlite": sqlite, "postgres": postgres, "mysql": mysql}[DATABASE]()}
# The same database by other ways, for what a fork may do to connections.
DATABASES["persistent"] = {**DATABASES["default"], "CONN_MAX_AGE": None}
if DATABASE == "postgres" and django.VERSION >= (5, 1) and find_spec("psycopg_pool"):
    DATABASES["pooled"] = {**DATABASES["default"], "OPTIONS": {"pool": {"min_size": 1}}}

INSTALLED_APPS = ["django_async", "faults", "suite"]
SECRET_KEY = "for tests only"
USE_TZ = ENV("FAULTS_USE_TZ", "yes") == "yes"
TIME_ZONE = ENV("FAULTS_TIME_ZONE", "UTC")
ASYNC = json.loads(ENV("FAULTS_ASYNC", "{}"))
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
