"""The distribution django-async: the queue `django_async` and its process pool `forkpool`.

Both packages live in source roots of their own: `async` is a reserved word of Python and
cannot name a package, and the pool must not be able to import the queue by accident.
"""

from pathlib import Path

from setuptools import find_packages, setup

POSTGRES = ["psycopg[binary]>=3.2.2"]
MYSQL = ["mysqlclient>=2.2.1"]
PROMETHEUS = ["prometheus-client>=0.20"]
OPENTELEMETRY = ["opentelemetry-api>=1.25"]
TITLES = ["setproctitle>=1.3.3"]
# The backport of Django's task framework, which Django has from 6.0 on.
TASKS = ["django-tasks>=0.12"]
# What a test run needs; the versions of the linters are held, for their verdict may change.
TEST = [
    *TITLES,
    "coverage>=7.10",
    "hypothesis>=6.140",
    "opentelemetry-sdk>=1.25",
    "prometheus-client>=0.20",
    "psycopg-pool>=3.2",
    "pytest>=9.0",
    "pytest-django>=4.11.1",
    # What drives the browser, and what that asks of each page for those who cannot see it.
    "selenium>=4.30",
    "axe-selenium-python>=3.0; python_version >= '3.12'",
]
LINT = [
    "django-stubs==6.1.*",
    "import-linter==2.16.*",
    "mypy==2.4.*",
    "ruff==0.17.*",
    "types-tqdm>=4.67",
]
TOOLS = ["build>=1.3", "tox>=4.30"]

setup(
    name="django-async",
    version="1.0.0.dev0",
    description="A job queue for Django in the database that Django already uses",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license_expression="BSL-1.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    package_dir={"django_async": "async/django_async", "forkpool": "pool/forkpool"},
    packages=[
        *find_packages("async", include=["django_async", "django_async.*"]),
        *find_packages("pool", include=["forkpool", "forkpool.*"]),
    ],
    package_data={
        "django_async": ["py.typed", "templates/**", "static/**", "locale/**"],
        "forkpool": ["py.typed"],
    },
    # With an older asgiref, a coroutine that a job runs can wait for itself.
    install_requires=["asgiref>=3.8.1", "Django>=4.2,<6.2", "multiprocess>=0.70.17", "tqdm>=4.66"],
    extras_require={
        "postgres": POSTGRES,
        "mysql": MYSQL,
        "prometheus": PROMETHEUS,
        "opentelemetry": OPENTELEMETRY,
        "tasks": TASKS,
        "titles": TITLES,
        "test": TEST,
        "dev": [*TEST, *LINT, *TOOLS],
    },
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Environment :: Web Environment",
        "Framework :: Django",
        "Framework :: Django :: 4.2",
        "Framework :: Django :: 5.2",
        "Framework :: Django :: 6.0",
        "Framework :: Django :: 6.1",
        "Intended Audience :: Developers",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: System :: Distributed Computing",
        "Typing :: Typed",
    ],
)
