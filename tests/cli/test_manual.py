"""Man pages: one for every command, with all that its help says, in roff that man reads without a complaint."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

from edgesplit_controller.cli.shell.manual import pages
from tests.cli.test_command_line import COMMANDS

PAGES = dict(pages())
REPOSITORY = Path(__file__).parents[2]


def shown(text: str) -> str:
    """Roff as a reader sees it, in one line."""
    text = re.sub(r"^\.[A-Z]+ ?", "", text, flags=re.MULTILINE)
    for sign, seen in (("\\&", ""), ("\\-", "-"), ("\\(ti", "~"), ("\\(ha", "^"), ("\\e", "\\")):
        text = text.replace(sign, seen)
    return " ".join(text.split())


def test_every_command_has_a_page() -> None:
    assert set(PAGES) == {"splitctl.1"} | {f"splitctl-{'-'.join(path)}.1" for path, _ in COMMANDS}


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=[" ".join(path) for path, _ in COMMANDS])
def test_a_page_says_what_help_says(path: tuple[str, ...], command: click.Command) -> None:
    page = PAGES[f"splitctl-{'-'.join(path)}.1"]
    said = shown(page)
    assert f"splitctl {' '.join(path)}" in said
    for option in (option for parameter in command.params for option in parameter.opts if option.startswith("--")):
        assert option in said
    assert " ".join((command.help or "").replace("\b", "").split()) in said
    assert [
        part for part in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXAMPLE", "JSON") if f".SH {part}" not in page
    ] == []


def test_pages_are_written_and_stale_ones_go(tmp_path: Path) -> None:
    (tmp_path / "splitctl-teleport.1").write_text("gone")
    (tmp_path / "other.1").write_text("somebody else's")
    command = [sys.executable, "-m", "edgesplit_controller.cli.shell.manual", str(tmp_path)]
    subprocess.run(command, check=True)
    assert {path.name for path in tmp_path.iterdir()} == {*PAGES, "other.1"}
    assert (tmp_path / "splitctl-drain.1").read_text() == PAGES["splitctl-drain.1"]


def test_a_wheel_installs_what_was_made() -> None:
    wheel = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["shared-data"]["man/man1"] == "share/man/man1"
    assert "cli.shell.manual man/man1" in (REPOSITORY / "Makefile").read_text()


MACROS = {"TH", "SH", "PP", "TP", "B", "BR", "nf", "fi"}
LINTERS = {"mandoc": ("-T", "lint", "-W", "error"), "groff": ("-man", "-ww", "-z", "-Tutf8", "-k")}


def test_programs_that_show_pages_have_nothing_to_say(tmp_path: Path) -> None:
    for name, page in PAGES.items():
        controls = [line for line in page.splitlines() if line.startswith((".", "'"))]
        assert {line.removeprefix(".").partition(" ")[0] for line in controls} <= MACROS, name
        (tmp_path / name).write_text(page)
    for program in filter(shutil.which, LINTERS):  # where they are: they know more of roff than this test
        files = [str(tmp_path / name) for name in PAGES]
        done = subprocess.run([program, *LINTERS[program], *files], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
