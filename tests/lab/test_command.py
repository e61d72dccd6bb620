"""The lab's commands without a testbed: sentences, not traces."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.command import run_scenario
from lab.scenarios.scenario_file import load

REPOSITORY = Path(__file__).resolve().parents[2]


def lab(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lab", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )


def test_without_root_one_sentence_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert run_scenario(load("smoke"), tmp_path / "smoke", "lab run smoke", fresh=False) == 1
    said = capsys.readouterr().err
    assert said == "lab: the testbed makes network namespaces and control groups: run it as root on Linux\n"
    assert not (tmp_path / "smoke").exists()


def test_a_shipped_scenario_is_checked_with_how_long_it_may_take() -> None:
    done = lab("check", "smoke")
    assert done.returncode == 0
    assert done.stdout.startswith("smoke: ")
    assert "about" in done.stdout


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_mistake_in_a_scenario_is_one_sentence(command: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[scenario]\nname = "mine"\nspeed = 3\n')
    done = lab(command, str(path))
    assert done.returncode == 1
    assert done.stderr.startswith(f"lab: {path}, line 3, scenario.speed: there is no such key")
    assert done.stderr.count("\n") == 1


def test_a_report_of_nothing_says_so(tmp_path: Path) -> None:
    done = lab("report", str(tmp_path))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
