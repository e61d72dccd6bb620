"""Against trees of files laid out like the kernel's, which show what is written but enforce nothing."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lab.testbed.cgroups import CgroupsMissing, NodeGroup, ProcessorShare, hierarchy


@pytest.fixture
def version_1(tmp_path: Path) -> Path:
    for controller in ("cpu", "cpuset"):
        (tmp_path / controller).mkdir()
        (tmp_path / controller / "cgroup.procs").touch()
    (tmp_path / "cpuset" / "cpuset.cpus").write_text("0-3\n")
    (tmp_path / "cpuset" / "cpuset.mems").write_text("0\n")
    return tmp_path


@pytest.fixture
def version_2(tmp_path: Path) -> Path:
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory\n")
    (tmp_path / "cpuset.cpus.effective").write_text("0-3\n")
    (tmp_path / "cpuset.mems.effective").write_text("0\n")
    return tmp_path


def test_a_quota_and_cores_are_written_for_version_1(version_1: Path) -> None:
    group = NodeGroup(hierarchy(version_1), "device", ProcessorShare(0.25, (1,)))
    cpu = version_1 / "cpu" / "edgesplit-testbed" / "device"
    assert (cpu / "cpu.cfs_period_us").read_text() == "10000"
    assert (cpu / "cpu.cfs_quota_us").read_text() == "2500"
    assert (version_1 / "cpuset" / "edgesplit-testbed" / "device" / "cpuset.cpus").read_text() == "1"
    assert (cpu.parent / "cpu.shares").read_text() == "262144"
    group.set_cores(None)
    assert (cpu / "cpu.cfs_quota_us").read_text() == "-1"


def test_a_quota_and_cores_are_written_for_version_2(version_2: Path) -> None:
    group = NodeGroup(hierarchy(version_2), "device", ProcessorShare(0.5))
    folder = version_2 / "edgesplit-testbed" / "device"
    assert (folder / "cpu.max").read_text() == "5000 10000"
    assert (folder / "cpuset.cpus").read_text() == "0-3"
    assert (folder.parent / "cpu.weight").read_text() == "10000"
    group.set_cores(None)
    assert (folder / "cpu.max").read_text() == "max 10000"


def test_a_command_enters_every_group_and_keeps_its_arguments(version_1: Path) -> None:
    group = NodeGroup(hierarchy(version_1), "device", ProcessorShare())
    done = subprocess.run([*group.command, "printf", "%s", "a b -- c"], capture_output=True, text=True, check=True)
    assert done.stdout == "a b -- c"
    for controller in ("cpu", "cpuset"):
        entered = version_1 / controller / "edgesplit-testbed" / "device" / "cgroup.procs"
        assert int(entered.read_text()) > 0


def test_a_machine_without_control_groups_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(CgroupsMissing, match="no cpu and cpuset"):
        hierarchy(tmp_path)


@pytest.mark.parametrize("cores", [0.0, -1.0, 0.05, float("nan")])
def test_a_share_the_kernel_would_refuse_is_refused(cores: float) -> None:
    with pytest.raises(ValueError, match="needs at least"):
        ProcessorShare(cores)
