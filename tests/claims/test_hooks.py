"""The hooks before a commit: from this checkout's environment alone, and none that `make check` would not run."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
CONFIGURATION = (REPOSITORY / ".pre-commit-config.yaml").read_text()


def values(key: str) -> list[str]:
    return re.findall(rf"^[ -]*{key}: (.*)$", CONFIGURATION, re.MULTILINE)


def test_every_hook_is_a_local_program_that_make_check_runs_too() -> None:
    assert values("repo") == ["local"]
    assert set(values("language")) == {"system"}
    checks = (REPOSITORY / "Makefile").read_text().replace("$(BIN)/", ".venv/bin/")
    assert len(values("entry")) == len(values("id")) > 0
    for entry in values("entry"):
        assert f"\t{entry.removesuffix(' --force-exclude')}" in checks
