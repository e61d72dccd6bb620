"""Prometheus' own tool, and the names of metrics in what it reads."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

__all__ = ["MONITORING", "declared", "metrics_of", "promtool", "shown"]

MONITORING = Path(__file__).resolve().parents[2] / "monitoring"
SUFFIXES = re.compile(r"_(bucket|sum|count)$")
_WORD = re.compile(r"[a-z_][a-z0-9_]*")
_OURS = re.compile(r"(edgesplit|process)_")


def promtool(*arguments: str, said: bytes = b"") -> str:
    """What promtool says to a command that it must accept without a word of blame; skips where it is not installed, fails in CI."""
    program = shutil.which("promtool")
    if program is None:
        message = "promtool is not installed (sh tests/ensure_promtool.sh)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    done = subprocess.run([program, *arguments], input=said, capture_output=True, check=False, timeout=60)
    told = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, told
    return told


def metrics_of(expression: str) -> set[str]:
    """Families of this project's that a PromQL expression reads."""
    return {SUFFIXES.sub("", word) for word in _WORD.findall(re.sub(r'"[^"]*"', "", expression)) if _OURS.match(word)}


def declared(page: str) -> dict[str, str]:
    """Families of a page, and the type of each; a counter as samples spell it, a histogram without their endings."""
    return dict(re.findall(r"^# TYPE (\S+) (\S+)$", page, re.MULTILINE))


def shown(page: str) -> set[str]:
    """Families of a page that have a sample."""
    names = {re.split(r"[{ ]", line, maxsplit=1)[0] for line in page.splitlines() if line and line[0] != "#"}
    return {SUFFIXES.sub("", name) if name not in declared(page) else name for name in names}
