"""Processor time of a node: a quota and a set of cores for all its processes.

Owns: one control group per node, in the version 1 hierarchy where that is mounted, else in version 2. Its rule: groups
live under `edgesplit-testbed` and hold only what is started into them. Not here: who is started.

What the nodes are given they get: beside them, whatever else this machine does only has what they leave. Otherwise the
controller, or the benchmark itself, would slow them down as nothing slows down a machine of its own.

The period is 10 ms rather than the kernel's 100 ms: a node of a quarter core then stalls for 7.5 ms at a time, which
averages out within a request, instead of 75 ms, which does not.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CgroupsMissing", "NodeGroup", "ProcessorShare", "hierarchy", "remove_groups"]

FOLDER = "edgesplit-testbed"
PERIOD_US = 10_000
PRECEDENCE = {"cpu.shares": 1 << 18, "cpu.weight": 10_000}
"""Of all nodes together over everything outside, which has a weight of 1,024 or 100 a process or group: the most that
the kernel takes, in version 1 and 2."""
MOUNT = Path("/sys/fs/cgroup")
_EMPTY_S = 5.0


class CgroupsMissing(Exception):
    """This machine's control groups cannot limit processor time."""


@dataclass(frozen=True)
class ProcessorShare:
    """What a node may use.

    Attributes:
        cores: Processor seconds a second; None: not limited. [1]
        pinned_to: Core numbers; empty: any.
    """

    cores: float | None = None
    pinned_to: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what the kernel would.

        Raises:
            ValueError: Less than the 1 ms per period that the kernel takes.
        """
        if self.cores is not None and not self.cores * PERIOD_US >= 1000:
            raise ValueError(f"a node needs at least {1000 / PERIOD_US:g} core, not {self.cores:g}")


def hierarchy(mount: Path = MOUNT) -> dict[str, Path]:
    """Where the `cpu` and `cpuset` controllers are: two folders in version 1, the same one in version 2.

    Raises:
        CgroupsMissing: One of them is in neither.
    """
    if (mount / "cpu" / "cpu.cfs_quota_us").exists() or (mount / "cpu" / "cgroup.procs").exists():
        found = {controller: mount / controller for controller in ("cpu", "cpuset")}
        if all((folder / "cgroup.procs").exists() for folder in found.values()):
            return found
    listed = mount / "cgroup.controllers"
    if listed.exists() and {"cpu", "cpuset"} <= set(listed.read_text(encoding="ascii").split()):
        return {"cpu": mount, "cpuset": mount}
    raise CgroupsMissing(f"no cpu and cpuset control groups under {mount}: mount them, or boot a kernel that has them")


class NodeGroup:
    """The control group of one node.

    Args:
        roots: Of `hierarchy`.
        node: Its name.
        share: What it may use at first.
    """

    def __init__(self, roots: Mapping[str, Path], node: str, share: ProcessorShare) -> None:
        self._unified = roots["cpu"] == roots["cpuset"]
        self._roots = dict(roots)
        self._folders = {controller: root / FOLDER / node for controller, root in roots.items()}
        if self._unified:
            _enable(roots["cpu"])
        for folder in dict.fromkeys(self._folders.values()):
            folder.parent.mkdir(exist_ok=True)
            if self._unified:
                _enable(folder.parent)
            folder.mkdir(exist_ok=True)
        self._pin(share.pinned_to)
        self._go_first()
        self.set_cores(share.cores)

    @property
    def command(self) -> tuple[str, ...]:
        """What a command is preceded with to run in this group, keeping its process id."""
        files = [str(folder / "cgroup.procs") for folder in dict.fromkeys(self._folders.values())]
        enter = 'while [ "$1" != -- ]; do echo $$ > "$1" || exit; shift; done; shift; exec "$@"'
        return ("sh", "-c", enter, "edgesplit-testbed", *files, "--")

    def set_cores(self, cores: float | None) -> None:
        """Change the quota while processes run; None lifts it. [1]"""
        share = ProcessorShare(cores)
        quota = None if share.cores is None else round(share.cores * PERIOD_US)
        folder = self._folders["cpu"]
        if self._unified:
            (folder / "cpu.max").write_text(f"{'max' if quota is None else quota} {PERIOD_US}", encoding="ascii")
            return
        (folder / "cpu.cfs_period_us").write_text(str(PERIOD_US), encoding="ascii")
        (folder / "cpu.cfs_quota_us").write_text(str(-1 if quota is None else quota), encoding="ascii")

    def _go_first(self) -> None:
        name = "cpu.weight" if self._unified else "cpu.shares"
        (self._folders["cpu"].parent / name).write_text(str(PRECEDENCE[name]), encoding="ascii")

    def _pin(self, cores: tuple[int, ...]) -> None:
        folder, root = self._folders["cpuset"], self._roots["cpuset"]
        inherited = "cpuset.{}.effective" if self._unified else "cpuset.{}"
        memory_nodes = (root / inherited.format("mems")).read_text(encoding="ascii").strip()
        all_cores = (root / inherited.format("cpus")).read_text(encoding="ascii").strip()
        wanted = ",".join(str(core) for core in cores) or all_cores
        # In version 1 a group takes no process before both are set, and a child may have no more than its parent.
        for group, cpus in ((folder.parent, all_cores), (folder, wanted)):
            (group / "cpuset.mems").write_text(memory_nodes, encoding="ascii")
            (group / "cpuset.cpus").write_text(cpus, encoding="ascii")


def remove_groups(roots: Mapping[str, Path]) -> None:
    """Remove all groups of a testbed; their processes must have been ended."""
    for root in dict.fromkeys(roots.values()):
        parent = root / FOLDER
        if not parent.is_dir():
            continue
        for folder in [path for path in parent.iterdir() if path.is_dir()]:
            _remove(folder)
        _remove(parent)


def _remove(folder: Path) -> None:
    """A process that just ended occupies its group for a moment more."""
    deadline = time.monotonic() + _EMPTY_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            folder.rmdir()
            return
        time.sleep(0.05)


def _enable(folder: Path) -> None:
    (folder / "cgroup.subtree_control").write_text("+cpu +cpuset", encoding="ascii")
