"""Where the files of a run are: also the mark by which all of its processes are known."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(os.environ.get("FAULTS_FOLDER", "."))
