"""Settings of the test-suite: the environment variable DATABASE says on which database it runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

ENV = os.environ.get
# tox runs several environments at once, each on databases of its own.
RUN = "".join(f"_{factor}" for factor in ENV("TOX_ENV_NAME", "").split("-") if factor)


def sqlite(suffix: str) -> dict[str, Any]:
    # Workers are processes of their own: they can share a file, but no in-memory database.
    file = Path(ENV("SQLITE_NAME", "suite.sqlite3"))
    name = file.with_stem(file.stem + RUN + suffix).name
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": name, "TEST": {"NAME": f"test_{name}"}}


def postgres(suffix: str) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "suite",
        "HOST": ENV("POSTGRES_HOST", "127.0.0.1"),
        "PORT": ENV("POSTGRES_PORT", "5432"),
        "USER": ENV("POSTGRES_USER", "postgres"),
        "PASSWORD": ENV("POSTGRES_PASSWORD", ""),
        "TEST": {"NAME": ENV("POSTGRES_NAME", "test_suite") + RUN + suffix},
    }


def mysql(suffix: str) -> dict[str, Any]:
    zone = ENV("MYSQL_TIME_ZONE")
    options: dict[str, Any] = {"charset": "utf8mb4"}
    if zone:
        options["init_command"] = f"SET time_zone = '{zone}'"
    return {
        "ENGINE": "django.db.backends.mysql",
        "NAME": "suite",
        "HOST": ENV("MYSQL_HOST", "127.0.0.1"),
        "PORT": ENV("MYSQL_PORT", "3306"),
        "USER": ENV("MYSQL_USER", "root"),
        "PASSWORD": ENV("MYSQL_PASSWORD", ""),
        "OPTIONS": options,
        "TEST": {"NAME": ENV("MYSQL_NAME", "test_suite") + RUN + suffix, "CHARSET": "utf8mb4"},
    }


DATABASE = ENV("DATABASE", "sqlite")
MAKE = {"sqlite": sqlite, "postgres": postgres, "mysql": mysql}[DATABASE]
DATABASES = {"default": MAKE(""), "other": MAKE("_other")}

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.admin",
    "django_async",
    "suite",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
ROOT_URLCONF = "suite.urls"
SECRET_KEY = "for tests only"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
"""The default one takes a second for each user that a test makes."""
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"  # which the queue must not go by
STATIC_URL = "static/"
TASKS = {"default": {"BACKEND": "django_async.tasks.AsyncBackend"}}
