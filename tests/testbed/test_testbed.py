"""The testbed itself, on real namespaces (root); without root, the sentence that says so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.testbed import requirements
from lab.testbed.requirements import TestbedUnavailable, unavailable
from lab.testbed.testbed import Testbed
from tests.testbed.transfer import received_in
from tests.waiting import blocking_until

REPOSITORY = Path(__file__).resolve().parents[2]
GROUPS = Path("/sys/fs/cgroup/cpu/edgesplit-testbed")


def test_without_root_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert unavailable() == "the testbed makes network namespaces and control groups: run it as root on Linux"
    with pytest.raises(TestbedUnavailable, match="run it as root"), Testbed(tmp_path):
        pass


def test_a_missing_tool_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(requirements, "program", lambda tool: None if tool == "mosquitto" else f"/usr/bin/{tool}")
    assert unavailable() == "the testbed needs `mosquitto`, which is not installed: apt-get install mosquitto"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Testbed]:
    if reason := unavailable():
        pytest.skip(reason)
    with Testbed(tmp_path_factory.mktemp("testbed")) as testbed:
        testbed.fleet.await_nodes()
        yield testbed


@pytest.mark.root
def test_a_transfer_takes_bytes_over_rate_and_a_delay(running: Testbed) -> None:
    for (source, target), nbytes in {("device", "edge"): 2_500_000, ("edge", "device"): 10_000_000}.items():
        shape = running.shape(source, target)
        seconds = received_in(running, source, target, nbytes)
        assert seconds >= 0.97 * nbytes / shape.rate_bytes_per_s
        assert seconds < 3 * nbytes / shape.rate_bytes_per_s + 1


@pytest.mark.root
def test_changes_apply_while_it_runs(running: Testbed) -> None:
    running.set_rate("device", "edge", 1e6)
    try:
        assert received_in(running, "device", "edge", 1_000_000) > 0.9
    finally:
        running.set_rate("device", "edge", 5e6)
    running.set_quota("edge", 0.2)
    assert (GROUPS / "edge" / "cpu.cfs_quota_us").read_text().strip() == "2000"
    running.set_quota("edge", 0.25)


@pytest.mark.root
def test_a_cut_link_goes_down_and_comes_back(running: Testbed) -> None:
    def linked() -> bool:
        rows = running.fleet.splitctl("links")
        return ("device", "cloud") in {(row["from"], row["to"]) for row in rows}

    running.cut("device", "cloud")
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            received_in(running, "device", "cloud", 1000, timeout_s=2)
    finally:
        running.restore("device", "cloud")
    assert received_in(running, "device", "cloud", 1000) > 0
    blocking_until(linked, "the link's return")


@pytest.mark.root
def test_a_second_testbed_is_refused(running: Testbed, tmp_path: Path) -> None:
    with pytest.raises(TestbedUnavailable, match="another testbed runs"), Testbed(tmp_path):
        pass
    assert {row["name"] for row in running.fleet.splitctl("nodes") if row["online"]} == {"device", "edge", "cloud"}


def left_behind() -> list[str]:
    names = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    return [line for line in names.splitlines() if line.startswith("edgesplit-")] + [str(p) for p in GROUPS.glob("*")]


RUNNER = """
import sys, time
from pathlib import Path
from lab.testbed.testbed import Testbed
from tests.waiting import blocking_until
from tests.waiting import blocking_until
with Testbed(Path(sys.argv[1])):
    print("up", flush=True)
    time.sleep(600)  # until it is killed
"""


@pytest.mark.root
@pytest.mark.timeout(120)
def test_what_a_killed_runner_left_is_removed_at_the_next_start(running: Testbed, tmp_path: Path) -> None:
    # The module's own testbed gives way: only one may run.
    running.__exit__(None, None, None)
    assert left_behind() == []
    runner = subprocess.Popen(
        [sys.executable, "-c", RUNNER, str(tmp_path / "killed")], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    )
    assert runner.stdout is not None
    assert runner.stdout.readline() == "up\n"
    runner.send_signal(signal.SIGKILL)
    runner.wait()
    assert left_behind() != []
    with Testbed(tmp_path / "next") as testbed:
        testbed.fleet.await_nodes()
    assert left_behind() == []
