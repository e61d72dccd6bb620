"""The version stands in pyproject.toml alone; programs and daemons say that of the installed package."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import edgesplit_agent.main
import edgesplit_controller.main
from edgesplit.release import installed_version
from edgesplit_controller.cli.entry import splitctl

REPOSITORY = Path(__file__).parents[2]
VERSION: str = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]


def test_the_installed_package_is_this_checkouts_version() -> None:
    assert installed_version() == VERSION, "make .venv/.dev installs it anew"


@pytest.mark.parametrize(
    "program",
    [splitctl, edgesplit_agent.main.main, edgesplit_controller.main.main],
    ids=["splitctl", "agent", "controller"],
)
def test_programs_say_the_version_of_the_package(program: click.Command) -> None:
    told = CliRunner().invoke(program, ["--version"])
    assert (told.exit_code, told.output.split()[-1]) == (0, VERSION)


def test_nothing_else_states_the_version() -> None:
    where = ["shared", "agent", "controller", "demo", "bench", "docker", "systemd", "README.md", "Makefile", ".ci"]
    asked = ["git", "grep", "--files-with-matches", "--fixed-strings", "--word-regexp", VERSION, "--", *where]
    found = subprocess.run(asked, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (found.stdout, found.returncode) == ("", 1)


def test_the_package_is_asked_for_its_version_in_one_place() -> None:
    asked = [
        "git",
        "grep",
        "--files-with-matches",
        "--extended-regexp",
        r"\bversion\([\"']edgesplit[\"']\)",
        "--",
        "*.py",
    ]
    found = subprocess.run(asked, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["shared/edgesplit/release.py"]
