"""No test is left out unseen, and none fails so: in CI a skip that tests/skips.py does not list fails the run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.skips import Skip, allowed_because, told

REPOSITORY = Path(__file__).parents[2]
FILE = """
import pytest

def test_that_runs():
    pass

@pytest.mark.skip(reason="{reason}")
def test_that_does_not():
    pass
"""


def run(file: Path, skips: Path, ci: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", "-q", "--no-header"]
    failed = str(skips.with_name("failed"))
    environment = {**os.environ, "CI": ci, "EDGESPLIT_SKIPS": str(skips), "EDGESPLIT_FAILED": failed}
    return subprocess.run(
        [*command, *options, "--rootdir", str(file.parent), "-c", os.devnull, str(file)],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("ci", "reason", "status"),
    [
        ("true", "mosquitto is not installed", 1),
        ("", "mosquitto is not installed", 0),
        ("true", "RestartSteps= needs systemd 254", 0),
    ],
)
def test_a_skip_fails_ci_unless_it_is_listed_and_is_always_named(
    tmp_path: Path, ci: str, reason: str, status: int
) -> None:
    file, skips = tmp_path / "test_some.py", tmp_path / "skips"
    file.write_text(FILE.format(reason=reason))
    done = run(file, skips, ci)
    assert done.returncode == status, done.stdout + done.stderr
    assert skips.read_text() == f"test_some.py::test_that_does_not\t{reason}\n"
    assert ("FAILED test_some.py::test_that_does_not" in done.stdout) == bool(status)


def test_a_whole_file_that_is_left_out_counts_too(tmp_path: Path) -> None:
    file, skips = tmp_path / "test_some.py", tmp_path / "skips"
    file.write_text("import pytest\npytest.importorskip('no_such_package')\n")
    done = run(file, skips, "true")
    assert done.returncode != 0
    assert "no_such_package" in skips.read_text()


def test_tests_for_root_are_named_where_they_are_left_out(tmp_path: Path) -> None:
    file, skips = tmp_path / "test_some.py", tmp_path / "skips"
    file.write_text(
        "import pytest\n\n@pytest.mark.root\ndef test_of_root():\n    pass\n\ndef test_of_all():\n    pass\n"
    )
    done = run(file, skips, "true", "-m", "not root")
    assert done.returncode == 0, done.stdout + done.stderr
    assert skips.read_text() == "test_some.py::test_of_root\tneeds root\n"


def test_the_summary_has_a_line_for_each_reason() -> None:
    skips = [Skip("a.py::one", "mosquitto is gone"), Skip("a.py::two", "mosquitto is gone"), Skip("b.py", "odd")]
    assert told(skips) == ["2 in a.py: mosquitto is gone (not allowed in CI)", "1 in b.py: odd (not allowed in CI)"]


def test_what_the_tests_of_torch_leave_out_is_allowed_and_similar_reasons_are_not() -> None:
    assert "test-torch" in allowed_because(Skip("t", "could not import 'torch': No module named 'torch'"))
    assert not allowed_because(Skip("t", "could not import 'amqtt': No module named 'amqtt'"))
    assert not allowed_because(Skip("t", "mosquitto is not there yet"))


def test_files_that_failed_are_written_down_once(tmp_path: Path) -> None:
    file = tmp_path / "test_some.py"
    file.write_text(
        "def test_one():\n    assert False\n\ndef test_two():\n    assert False\n\ndef test_three():\n    pass\n"
    )
    assert run(file, tmp_path / "skips", "").returncode == 1
    assert (tmp_path / "failed").read_text() == "test_some.py\n"


PYTEST = """#!/bin/sh
case "$*" in
    -c*) echo 2 ;;
    *tests.skips*) echo "tests left out: 0" ;;
    *--ignore=*) printf '{failed}' >>"$EDGESPLIT_FAILED"; exit 1 ;;
    *loadfile*) exit 0 ;;
    *) echo "alone: $*"; exit {alone} ;;
esac
"""


@pytest.mark.parametrize(
    ("failed", "alone", "again", "status"),
    [
        ("a.py\\nb.py\\na.py\\n", 0, "a.py b.py", 0),
        ("a.py\\n", 1, "a.py", 1),
        ("a.py\\nb.py\\nc.py\\nd.py\\n", 0, "", 1),
        ("", 0, "", 1),
    ],
)
def test_a_few_files_that_failed_beside_others_are_run_once_more_alone(
    tmp_path: Path, failed: str, alone: int, again: str, status: int
) -> None:
    python = tmp_path / "python"
    python.write_text(PYTEST.format(failed=failed, alone=alone))
    python.chmod(0o700)
    command = ["sh", "tests/all.sh", str(python)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("alone:")] == ([f"alone: -m pytest {again}"] if again else [])
    assert (f"FAILED BESIDE OTHERS, PASSED ALONE: {again}" in lines) == (status == 0)
