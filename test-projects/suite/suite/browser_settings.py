"""The settings of what a browser looks at: a server beside a test, with a strict policy."""

from __future__ import annotations

from suite.beside_settings import *  # noqa: F403 - this module is that one, and what a site adds
from suite.beside_settings import INSTALLED_APPS, MIDDLEWARE

ALLOWED_HOSTS = ["127.0.0.1"]
INSTALLED_APPS += ["django.contrib.staticfiles"]
MIDDLEWARE[:0] = ["suite.policy.strict_policy", "django.middleware.csrf.CsrfViewMiddleware"]
ROOT_URLCONF = "suite.browser_urls"
STATIC_URL = "/static/"
