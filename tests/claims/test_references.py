"""What comments, docstrings and pages refer to is in a clone: files, modules, names; nothing beside the repository."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
TRACKED = subprocess.run(
    ["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True
).stdout.splitlines()
PYTHON = [path for path in TRACKED if path.endswith(".py")]
TEXTS = [
    path for path in TRACKED if path.endswith((".py", ".md", ".toml", ".sh", ".yaml", ".yml", ".service", "Makefile"))
]

FILE = re.compile(r"(?<![\w/*.~-])((?:[\w.-]+/)*[\w-]+\.(?:py|md|sh))\b(?!\()")
DOTTED = re.compile(r"`((?:edgesplit|edgesplit_agent|edgesplit_controller|tests|bench|demo)(?:\.\w+)+)`")
BESIDE = re.compile(r"\b(?:INTERFACES|EVIDENCE|HOUSE|STYLE|DESIGN)\b(?!_)|\.\./shared\b")
"""Pages that steered the work and a folder beside the repository; a clone has neither."""
ELSEWHERE = {"__main__.py", "__init__.py", "setup.py"}


def prose(path: str) -> Iterator[tuple[int, str]]:
    """Comments and docstrings of a module, with their lines."""
    source = (REPOSITORY / path).read_text()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(source)):
        # Docstrings, and those that stand below what they describe.
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value


def is_there(name: str, seen_from: str) -> bool:
    """Whether a file is tracked under this path or one that ends so; a bare name means one of the same part of the tree."""
    part = "" if "/" in name or not name.endswith(".py") else f"{seen_from.split('/', maxsplit=1)[0]}/"
    return any(path.startswith(part) and f"/{path}".endswith(f"/{name}") for path in TRACKED)


@pytest.mark.parametrize("path", PYTHON)
def test_files_that_a_module_refers_to_are_tracked(path: str) -> None:
    named = {(line, name) for line, text in prose(path) for name in FILE.findall(text)}
    missing = sorted((line, name) for line, name in named if name not in ELSEWHERE and not is_there(name, path))
    assert missing == []


def resolves(name: str) -> bool:
    """Whether a dotted name leads to a module or to something in one."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        module = ".".join(parts[:count])
        try:
            if importlib.util.find_spec(module) is None:
                continue
            found: object = importlib.import_module(module)
        except ModuleNotFoundError:
            continue
        for attribute in parts[count:]:
            fields = getattr(found, "__annotations__", {})
            if not hasattr(found, attribute) and attribute not in fields:
                return False
            found = getattr(found, attribute, None)
        return True
    return False


@pytest.mark.parametrize("path", [path for path in PYTHON if DOTTED.search((REPOSITORY / path).read_text())])
def test_names_that_a_module_refers_to_exist(path: str) -> None:
    named = {name for _, text in prose(path) for name in DOTTED.findall(text)}
    assert [name for name in sorted(named) if not resolves(name)] == []


@pytest.mark.parametrize("path", [path for path in TEXTS if path != "tests/claims/test_references.py"])
def test_nothing_refers_to_what_lies_beside_the_repository(path: str) -> None:
    assert BESIDE.findall((REPOSITORY / path).read_text()) == []
