"""The tests' quick splitctl says what splitctl says: status, output and environment are those of a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from demo.fleet import Invocation, run_program
from tests.warm_splitctl import WarmSplitctl

SPLITCTL = [sys.executable, "-m", "edgesplit_controller.cli.entry"]
NOBODY = "mqtt://127.0.0.1:1"


@pytest.fixture(scope="module")
def warm() -> Iterator[WarmSplitctl]:
    with WarmSplitctl() as run:
        yield run


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        (["--version"], {}),
        (["no-such-command"], {}),
        (["--broker", NOBODY, "--json", "nodes"], {}),
        (["nodes"], {"EDGESPLIT_BROKER": NOBODY}),
    ],
)
def test_it_ends_and_prints_as_one_from_a_shell(
    warm: WarmSplitctl, arguments: list[str], variables: dict[str, str]
) -> None:
    environment = {**os.environ, **variables}
    said = [
        (done.returncode, done.stdout, done.stderr)
        for run in (run_program, warm)
        for done in [run(Invocation(SPLITCTL, arguments, environment, timeout_s=60.0))]
    ]
    assert said[0] == said[1]


def test_one_that_takes_too_long_is_killed(warm: WarmSplitctl) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(subprocess.TimeoutExpired):
        arguments = ["--broker", f"mqtt://127.0.0.1:{silent.getsockname()[1]}", "nodes"]
        warm(Invocation(SPLITCTL, arguments, os.environ, timeout_s=0.1))
