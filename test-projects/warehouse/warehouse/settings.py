"""Settings of the warehouse demo: a development server and a file of SQLite, no more.

`WAREHOUSE_DATABASE` chooses another database: `postgres` or `mysql`. The server's address and
login come from `POSTGRES_HOST`, `_PORT`, `_USER` and `_PASSWORD`, or `MYSQL_HOST` and so on.
"""

import os
from pathlib import Path
from typing import Any

BASE_DIR = Path(__file__).resolve().parent.parent

DEBUG = True
SECRET_KEY = "a demo on your own machine has nothing to hide"
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
ROOT_URLCONF = "warehouse.urls"
STATIC_URL = "static/"
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "django_async",
    "warehouse",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
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

# Jobs of this project, and no other callable of the interpreter.
# By hand, in the admin or over HTTP, people may have the stock taken, and schedule nothing else.
ASYNC = {
    "ALLOWED_FUNCTIONS": ["warehouse.jobs."],
    "SCHEDULABLE": ["warehouse.jobs.take_stock"],
}


def server(vendor: str, engine: str, port: int, user: str) -> dict[str, Any]:
    """Return the settings of a database server, as the environment describes it."""
    return {
        "ENGINE": f"django.db.backends.{engine}",
        "NAME": "warehouse",
        "HOST": os.environ.get(f"{vendor}_HOST", "127.0.0.1"),
        "PORT": os.environ.get(f"{vendor}_PORT", str(port)),
        "USER": os.environ.get(f"{vendor}_USER", user),
        "PASSWORD": os.environ.get(f"{vendor}_PASSWORD", ""),
    }


DATABASE_CHOICES = {
    "sqlite": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("WAREHOUSE_FILE", BASE_DIR / "warehouse.sqlite3"),
        # Seconds that a worker waits for its turn to write; the WAL mode is set in apps.py.
        "OPTIONS": {"timeout": 30},
    },
    "postgres": server("POSTGRES", "postgresql", 5432, "postgres"),
    "mysql": server("MYSQL", "mysql", 3306, "root"),
}
DATABASES = {"default": DATABASE_CHOICES[os.environ.get("WAREHOUSE_DATABASE", "sqlite")]}

# A failed job is logged with its traceback. This project expects some hundred of them, so they
# go to a file and leave the terminal to the summary.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {
        "file": {
            "class": "logging.FileHandler",
            "filename": BASE_DIR / "warehouse.log",
            "formatter": "line",
            "encoding": "utf-8",
            "delay": True,
        }
    },
    "loggers": {"django_async": {"handlers": ["file"], "level": "INFO", "propagate": False}},
}
