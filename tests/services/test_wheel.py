"""What is handed out: the wheel holds the three packages, and nothing of tests, benchmarks, demo or models."""

from __future__ import annotations

import zipfile
from pathlib import Path

from tests.services.material import project_wheel

PACKAGES = {"edgesplit", "edgesplit_agent", "edgesplit_controller"}
FILES = {".py", ".typed", ".service", ".json"}
PAGE = "edgesplit_controller/dashboard/static/"
PAGE_FILES = {".css", ".html", ".js", ".svg", ".txt"}
"""Of the dashboard; the licences of its libraries are texts."""
LARGEST_BYTES = 2 << 20


def test_the_wheel_holds_the_packages_alone(tmp_path: Path) -> None:
    wheel = project_wheel(tmp_path)
    assert wheel.name.endswith("-py3-none-any.whl")
    assert wheel.stat().st_size < LARGEST_BYTES
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    own = [name for name in names if ".dist-info/" not in name and ".data/" not in name]
    beside = {name.partition(".data/data/")[2] for name in names if ".data/" in name}
    assert {name.rpartition("/")[0] for name in beside} <= {"share/man/man1", "share/edgesplit/monitoring"}
    assert {name.partition("/")[0] for name in own} == PACKAGES
    assert {Path(name).suffix for name in own if not name.startswith(PAGE)} == FILES
    assert PAGE + "index.html" in own
    page = {Path(name).suffix for name in own if name.startswith(PAGE)}
    assert page - {".txt"} == PAGE_FILES - {".txt"}
    assert page <= PAGE_FILES
    libraries = {name.removeprefix(PAGE + "vendor/") for name in own if name.startswith(PAGE + "vendor/")}
    assert not libraries or {"uPlot.esm.js", "uPlot.LICENSE.txt", "dagre.esm.js", "dagre.LICENSE.txt"} <= libraries
    metadata = {name.partition(".dist-info/")[2] for name in names if ".dist-info/" in name}
    assert metadata == {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}
