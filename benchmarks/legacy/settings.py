"""Settings of Django 1.11 for the scratch database that the driver has made."""

import os

ENV = os.environ.get

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "benchmark_{}".format(os.environ["BENCHMARK_SYSTEM"]),
        "HOST": ENV("POSTGRES_HOST", "127.0.0.1"),
        "PORT": ENV("POSTGRES_PORT", "5432"),
        "USER": ENV("POSTGRES_USER", "postgres"),
        "PASSWORD": ENV("POSTGRES_PASSWORD", ""),
        "CONN_MAX_AGE": None,
    }
}
INSTALLED_APPS = ["async", "benchmarks"]
SECRET_KEY = "for benchmarks only"
USE_TZ = True
TIME_ZONE = "UTC"
