"""The unit file and the manifest that we ship say what the commands understand."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from configparser import RawConfigParser
from pathlib import Path

import pytest
from django.core.management import load_command_class

DEPLOY = Path(__file__).parents[2] / "deploy"
UNIT = DEPLOY / "django-async.service"
MANIFEST = DEPLOY / "kubernetes.yaml"


def unit() -> RawConfigParser:
    parser = RawConfigParser(delimiters="=")  # to which names are the same in any case
    parser.read(UNIT)
    return parser


def parse(words: list[str]) -> dict[str, object]:
    """What the command makes of ``python manage.py NAME …``."""
    assert words[0].endswith("python")
    assert words[1].endswith("manage.py")
    app = "django.core" if words[2] == "migrate" else "django_async"
    parser = load_command_class(app, words[2]).create_parser("manage.py", words[2])
    return vars(parser.parse_args(words[3:]))


def lists(key: str) -> list[list[str]]:
    """The lists of this name in the manifest, which are written as JSON is."""
    return [json.loads(found) for found in re.findall(rf"{key}: (\[.*\])", MANIFEST.read_text())]


def test_the_unit_starts_a_service() -> None:
    options = parse(shlex.split(unit()["Service"]["ExecStart"]))
    assert options["forever"]
    assert options["workers"]


def test_the_unit_stops_the_parent_only_and_takes_only_its_word() -> None:
    service = unit()["Service"]
    assert (service["Type"], service["NotifyAccess"]) == ("notify", "main")
    assert service["KillMode"] == "mixed"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd here")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    text = UNIT.read_text().replace("/srv/shop/venv/bin/python", sys.executable)
    copy = tmp_path / "shop-queue.service"
    copy.write_text(text.replace("/srv/shop", str(tmp_path)).replace("User=shop", "User=root"))
    command = ["systemd-analyze", "verify", "--man=no", str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    ours = [line for line in done.stderr.splitlines() if copy.name in line]
    assert (done.returncode, ours) == (0, [])


def test_the_manifest_starts_a_service_and_probes_it() -> None:
    migrate, migrated, serve, _, _ = lists("command")
    (args,) = lists("args")
    assert parse([*serve, *args])["forever"]
    assert parse(migrated)["check_unapplied"]
    assert not parse(migrate)["check_unapplied"]


def test_the_manifests_probes_are_about_the_liveness_file(tmp_path: Path) -> None:
    (args,) = lists("args")
    file = args[args.index("--liveness-file") + 1]
    *_, startup, liveness = lists("command")
    assert file in " ".join(startup)
    assert file in " ".join(liveness)
    here = tmp_path / "alive"

    def answers() -> list[bool]:
        commands = [[word.replace(file, str(here)) for word in one] for one in (startup, liveness)]
        return [subprocess.run(one, capture_output=True).returncode == 0 for one in commands]

    assert answers() == [False, False]
    here.touch()
    assert answers() == [True, True]
    long_ago = time.time() - 61
    os.utime(here, (long_ago, long_ago))
    assert answers() == [True, False]
