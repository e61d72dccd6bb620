"""ARCHITECTURE's table of rooms says what is so: every room has a row, every rule something that holds it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections import Counter, defaultdict
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
PACKAGES = {"shared": "edgesplit", "agent": "edgesplit_agent", "controller": "edgesplit_controller"}
CONFIGURATION = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
CONTRACTS: dict[str, dict[str, Any]] = {
    contract["name"]: contract for contract in CONFIGURATION["tool"]["importlinter"]["contracts"]
}
SECTION = (REPOSITORY / "ARCHITECTURE.md").read_text().partition("## Rooms and their rules")[2].partition("\n## ")[0]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")] for line in SECTION.splitlines() if line.startswith("| `")
]
TRACKED = subprocess.run(
    ["git", "ls-files", *PACKAGES], cwd=REPOSITORY, capture_output=True, text=True, check=True
).stdout.splitlines()
MODULES = [Path(path) for path in TRACKED if path.endswith(".py") and (REPOSITORY / path).exists()]
LAB = [path.relative_to(REPOSITORY) for path in sorted((REPOSITORY / "lab").rglob("*.py"))]
"""It has rooms, too, of one floor; no package."""
MOST_MODULES = 12
LATE = {
    "agent/edgesplit_agent/assembly.py": "an agent of a fleet without an authority does without cryptography",
    "controller/edgesplit_controller/cli/": "splitctl --help must not wait for what a command needs",
    "controller/edgesplit_controller/main.py": "--print-config must not, either",
    "agent/edgesplit_agent/main.py": "as the controller's; and one heap is asked for before libraries allocate from several",
    "agent/edgesplit_agent/joining/commands.py": "the daemon's start must not wait for what joining needs",
    "controller/edgesplit_controller/broker/embedded_broker.py": "amqtt is an extra",
    "shared/edgesplit/daemon/inference_runtime/late_runtime.py": "an agent without a model does without the runtime, and a start says who it is before",
    "shared/edgesplit/late_libraries.py": "the one way: an agent without a model does without numpy and aiohttp, and type checkers see them",
    "agent/edgesplit_agent/http/endpoint.py": "type checkers see what the first connection loads",
    "shared/edgesplit/wire/codecs/lossless.py": "zstandard is no dependency of the client library",
    "shared/edgesplit/wire/tensors.py": "ml_dtypes is no dependency of anything but onnx; numpy's type of arrays is for type checkers",
    "lab/__main__.py": "a mistake in a scenario is told at once, and telemetry is switched off before onnxruntime comes",
    "lab/testbed/plain_loop.py": "as the agent's: telemetry is switched off before onnxruntime comes",
    "shared/edgesplit/__init__.py": "a program that imports edgesplit pays for what it uses",
}
"""Where imports may stand within functions, or be for type checkers alone, and why."""


def folder(room: str) -> str:
    """A room's folder, from the repository's root."""
    if room.startswith("planner/"):
        return f"controller/edgesplit_controller/{room}"
    top = room.partition("/")[0]
    return room.replace("…", PACKAGES[top]) if top in PACKAGES else room


def syntax(path: Path) -> ast.Module:
    return ast.parse((REPOSITORY / path).read_text())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_every_rule_names_what_holds_it(row: list[str]) -> None:
    rooms, _owns, must_not, held_by = row
    contracts, tests = re.findall(r"\*([^*]+)\*", held_by), re.findall(r"`(tests/[^`]+)`", held_by)
    assert all((REPOSITORY / folder(room)).is_dir() for room in re.findall(r"`([^`]+)`", rooms))
    assert bool(must_not) == bool(contracts or tests)
    assert [name for name in contracts if name not in CONTRACTS] == []
    for test in tests:
        path, _, name = test.partition("::")
        assert re.search(rf"^(async )?def {name}\(", (REPOSITORY / path).read_text(), re.MULTILINE), test


def test_every_contract_holds_a_rule() -> None:
    named = set(re.findall(r"\*([^*]+)\*", " ".join(row[3] for row in ROWS)))
    assert named == CONTRACTS.keys()


def test_every_room_has_a_row() -> None:
    described = {folder(room) for row in ROWS for room in re.findall(r"`([^`]+)`", row[0])}
    rooms = {f"{top}/{package}" for top, package in PACKAGES.items()} | {
        "/".join(path.parts[:3]) for path in MODULES if len(path.parts) > 3
    }
    rooms |= {"/".join(path.parts[:2]) for path in LAB if len(path.parts) > 2}
    assert rooms - described == set()


def test_what_is_forbidden_is_there_to_be_forbidden() -> None:
    """A name that nobody could import would forbid nothing."""
    folders = {path.name for path in REPOSITORY.iterdir()}
    known = {*sys.stdlib_module_names, *packages_distributions(), *folders, *PACKAGES.values(), "torch"}
    names = {name for contract in CONTRACTS.values() for name in contract.get("forbidden_modules", ())}
    assert {name for name in names if name.partition(".")[0] not in known} == set()


def test_each_word_is_defined_once() -> None:
    words = (REPOSITORY / "ARCHITECTURE.md").read_text().partition("## Words")[2]
    defined = Counter(
        word for line in words.splitlines() if line.startswith("| ") for word in line.split("|")[1].split(", ")
    )
    assert {word.strip(): count for word, count in defined.items() if count > 1} == {}


def test_no_folder_has_more_than_a_dozen_modules() -> None:
    counts = Counter(str(path.parent) for path in (*MODULES, *LAB) if path.name != "__init__.py")
    assert {name: count for name, count in counts.items() if count > MOST_MODULES} == {}


def test_imports_stand_at_the_top_but_for_a_reason() -> None:
    late = [
        f"{path}:{node.lineno}"
        for path in (*MODULES, *LAB)
        if not str(path).startswith(tuple(LATE))
        for statement in syntax(path).body
        if not isinstance(statement, ast.Import | ast.ImportFrom)
        for node in ast.walk(statement)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert late == []


def test_a_class_name_exists_once() -> None:
    homes: dict[str, list[str]] = defaultdict(list)
    for path in (*MODULES, *LAB):
        for statement in syntax(path).body:
            if isinstance(statement, ast.ClassDef):
                homes[statement.name].append(str(path))
    assert {name: paths for name, paths in homes.items() if len(paths) > 1} == {}


def test_importing_reads_nothing() -> None:
    """Neither environment nor files: what a program reads, it reads in `main`."""
    code = (
        "import builtins, importlib, io, os, pathlib, sys\n"
        "import msgspec, numpy, onnxruntime, structlog, paho.mqtt.client\n"
        "read = []\n"
        "class Watched(dict):\n"
        "    def __getitem__(self, key): read.append(key); return super().__getitem__(key)\n"
        "    def get(self, key, default=None): read.append(key); return super().get(key, default)\n"
        "os.environ = Watched(os.environ)\n"
        "sys.addaudithook(lambda name, given: read.append(given[0]) if name == 'open' and isinstance(given[0], str)"
        " and not given[0].endswith(('.py', '.pyc', '.so', '.pth')) and 'site-packages' not in given[0]"
        " and 'lib/python' not in given[0] else None)\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "sys.exit(f'read {read}' if read else 0)\n"
    )
    names = [
        ".".join(path.with_suffix("").parts[1:]).removesuffix(".__init__")
        for path in MODULES
        if path.parts[0] == "shared"
    ]
    done = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
