"""make test-gpu, as far as a machine without a graphics processor can tell: what it needs, and what becomes of a check that fails."""

from __future__ import annotations

import subprocess
from pathlib import Path

import onnxruntime
import pytest

from tests.gpu import checks
from tests.gpu.checks import made
from tests.gpu.ready import missing

SCRIPT = Path(__file__).parents[1] / "gpu" / "run.sh"


def test_a_runtime_for_processors_alone_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "cuda_version", "", raising=False)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert missing().endswith("is built for processors alone")
    monkeypatch.setattr(onnxruntime, "cuda_version", "12.8", raising=False)
    assert missing() == ""


def test_the_script_is_one_that_sh_reads() -> None:
    assert subprocess.run(["sh", "-n", SCRIPT], check=False).returncode == 0


def test_a_check_that_crashes_or_hangs_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = made("no_such_check", tmp_path, 30.0)
    assert not found["ok"]
    assert found["said"].startswith("ended with 1")
    assert "no_such_check" in found["said"]

    def hangs(command: list[str], **options: object) -> None:
        raise subprocess.TimeoutExpired(command, 1.0)

    monkeypatch.setattr(subprocess, "run", hangs)
    found = made("sessions", tmp_path, 1.0)
    assert not found["ok"]
    assert "took more than 1 s" in found["said"]


def test_no_check_may_take_longer_than_all_of_them() -> None:
    assert checks.IN_ALL_S < 8 * 60
    assert all(limit_s < checks.IN_ALL_S for _, limit_s in checks.CHECKS)
    assert all((SCRIPT.parent / f"{module}.py").exists() for module, _ in checks.CHECKS)
