"""The wheel is whole, and enough for a project far from the checkout."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import venv
import zipfile
from contextlib import closing
from email import message_from_bytes
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
ROOTS = ("async/django_async", "pool/forkpool")
BUILT_FROM = ("setup.py", "pyproject.toml", "README.md", "LICENSE", *ROOTS)
# What leads Python and its tools to the checkout, or to the coverage measured there.
LEADING_BACK = ("COVERAGE", "DJANGO", "PYTHON", "VIRTUAL_ENV")

pytestmark = pytest.mark.skipif(
    os.environ.get("DATABASE", "sqlite") != "sqlite",
    reason="the wheel is the same on every database: one of them is enough",
)


def run(*command: str | Path, cwd: Path, status: int = 0) -> str:
    """Run `command` in `cwd`; its output, after checking that it exits with `status`."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(LEADING_BACK)}
    done = subprocess.run(
        command, cwd=cwd, env=env, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == status, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def files_of_git(*paths: str) -> set[str]:
    """The files below `paths` that git tracks, or would track when added."""
    listing = run("git", "ls-files", "-co", "--exclude-standard", "--", *paths, cwd=CHECKOUT)
    return {path for path in listing.splitlines() if (CHECKOUT / path).is_file()}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory far from the checkout."""
    return tmp_path_factory.mktemp("elsewhere")


@pytest.fixture(scope="module")
def index(place: Path) -> None:
    """A package index that pip reaches: continuous integration must have one."""
    command = (sys.executable, "-m", "pip", "download", "--no-deps", "--retries", "0", "tqdm")
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    if done.returncode and os.environ.get("CI") != "true":
        pytest.skip("pip reaches no package index")
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(place: Path, index: None) -> Path:
    """The wheel, built the way a user's pip does it from the files of git."""
    source = place / "source"
    for path in files_of_git(*BUILT_FROM):
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CHECKOUT / path, source / path)
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", "wheels", source, cwd=place)
    (built,) = (place / "wheels").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(place: Path, wheel: Path) -> Path:
    """The Python of an environment that holds the wheel and what the wheel asks for."""
    venv.create(place / "venv", with_pip=True)
    interpreter = place / "venv" / "bin" / "python"
    run(interpreter, "-m", "pip", "install", "--quiet", wheel, cwd=place)
    return interpreter


def test_the_wheel_holds_the_files_of_both_packages_and_nothing_else(wheel: Path) -> None:
    expected = {path.split("/", 1)[1] for path in files_of_git(*ROOTS)}
    packed = {
        name
        for name in zipfile.ZipFile(wheel).namelist()
        if not name.split("/")[0].endswith(".dist-info")
    }
    assert packed == expected
    assert {"django_async/py.typed", "forkpool/py.typed"} <= packed
    assert "django_async/migrations/0001_initial.py" in packed


def test_the_wheel_asks_only_for_what_it_needs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("dist-info/METADATA"))
        metadata = message_from_bytes(archive.read(name))
    required = {line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line}
    assert {line.split("<")[0].split(">")[0] for line in required} == {
        "Django",
        "asgiref",
        "multiprocess",
        "tqdm",
    }
    assert set(metadata.get_all("Provides-Extra", [])) >= {"postgres", "mysql", "dev"}
    assert metadata["License-Expression"] == "BSL-1.0"


@pytest.fixture(scope="module")
def demo(place: Path, python: Path) -> Path:
    """The demo project far from the checkout, with an empty database."""
    demo = place / "warehouse"
    for path in files_of_git("test-projects/warehouse"):
        copy = demo / Path(path).relative_to("test-projects/warehouse")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CHECKOUT / path, copy)
    run(python, "manage.py", "migrate", cwd=demo)
    return demo


def write_small_files(demo: Path) -> list[str]:
    """The first lines of the orders, and a tenth of the stock; what the command is told of them."""
    for name in ("orders", "stock"):
        lines = (demo / "data" / f"{name}.csv").read_text(encoding="utf-8").splitlines()
        if name == "stock":
            lines = [re.sub(r"(?<=\d)\d$", "", line) for line in lines]
        (demo / f"{name}.csv").write_text("\n".join([*lines[:600], ""]), encoding="utf-8")
    return ["orders.csv", "--stock", "stock.csv"]


@pytest.fixture(scope="module")
def shipped(python: Path, demo: Path) -> Path:
    """The demo's database after two imports, the second one small, and their jobs."""
    for files in ([], write_small_files(demo)):
        run(python, "manage.py", "import_orders", *files, cwd=demo)
        flush = (python, "manage.py", "flush_queue", "--workers", "2", "--keep-going")
        run(*flush, cwd=demo, status=1)  # some of its orders cannot be shipped
        run(python, "manage.py", "prove", cwd=demo)
    [database] = demo.glob("*.sqlite3")
    return database


def test_the_demo_is_checked_with_the_wheel_alone(place: Path, python: Path, demo: Path) -> None:
    imported = run(python, "-c", "import django_async; print(django_async.__file__)", cwd=demo)
    assert Path(imported.strip()).is_relative_to(place / "venv")
    run(python, "-W", "error", "manage.py", "check", "--fail-level", "WARNING", cwd=demo)


@pytest.mark.parametrize(
    ("tampering", "claim"),
    [
        ("UPDATE warehouse_product SET on_hand = on_hand + 1", "stock"),
        ("UPDATE warehouse_stockmove SET line_id = line_id - 1", "moves"),
        ("UPDATE warehouse_ledgerentry SET cents = cents + 1", "ledger"),
        ("UPDATE async_job SET discarded = executed, executed = NULL", "orders"),
        ("DELETE FROM async_error", "orders"),
        ("UPDATE async_error SET exception = 'KeyError()'", "failures"),
        ("UPDATE warehouse_reconciliation SET shipped = shipped + 1", "books"),
    ],
)
def test_the_demo_proves_its_sums_and_a_single_row_can_disprove_them(
    python: Path, shipped: Path, tmp_path: Path, tampering: str, claim: str
) -> None:
    """The row is the newest one: it is found after two imports."""
    table = re.search("(?:UPDATE|FROM) (\\w+)", tampering)
    assert table
    newest = "name = 'warehouse.jobs.ship'" if table[1] == "async_job" else "1 = 1"
    kept = shutil.copy(shipped, tmp_path)
    with closing(sqlite3.connect(shipped)) as connection, connection:
        where = f"WHERE id = (SELECT MAX(id) FROM {table[1]} WHERE {newest})"
        assert connection.execute(f"{tampering} {where}").rowcount == 1
    try:
        said = run(python, "manage.py", "prove", cwd=shipped.parent, status=1)
    finally:
        for leftover in shipped.parent.glob(f"{shipped.name}*"):
            leftover.unlink()
        shutil.copy(kept, shipped)
    assert f"WRONG  {claim}: " in said
