"""Steal, throttling, run-queue waiting and clock frequency, as the Linux kernel counts them.

Owns: where these stand in /proc, /sys and control groups of both versions, and shares of time between two readings. Its
rule: each tells something else and keeps its name; what this kernel does not count is None, never an error.
Not here: how often (`steadiness_watch.py`).

References: [1] proc(5), /proc/stat and /proc/PID/schedstat. [2] Linux kernel documentation, admin-guide/cgroup-v2, cpu.stat;
scheduler/sched-bwc (version 1). [3] Linux kernel documentation, admin-guide/pm/cpufreq, scaling_cur_freq.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["KernelCounters", "LostShares", "Reading", "lost_between"]

STEAL = 7
"""Column of steal in a line of /proc/stat, from 0; those after it are contained in the first two. [1]"""
CORES_ASKED = 8
"""Cores of a machine run at much the same frequency; asking hundreds would cost more than it tells. [1]"""


@dataclass(frozen=True)
class Reading:
    """Counters at one moment.

    Attributes:
        at_s: When. [s]
        stolen: Time of all cores that the hypervisor gave to others; None where not told. [ticks]
        passed: Time of all cores. [ticks]
        throttled_s: By path of a control group with a limit: how long it was held back, all its cores together. [s]
        ran_s: How long the thread that computes ran; None where not told. [s]
        waited_s: How long it was ready to run while other threads had the cores. [s]
        frequency_hz: Of the cores that it may use, mean; None where not told. [Hz]
    """

    at_s: float
    stolen: int | None = None
    passed: int = 0
    throttled_s: Mapping[str, float] = field(default_factory=dict[str, float])
    ran_s: float | None = None
    waited_s: float = 0.0
    frequency_hz: float | None = None


@dataclass(frozen=True)
class LostShares:
    """What was lost between two readings.

    Attributes:
        stolen: Share of the time of all cores; None where not told. [1]
        throttled: Share of the time during which a control group was held back, the one most so; None without a limit. [1]
        waited: Share of the time in which the thread that computes wanted to run; None where not told or it never did. [1]
    """

    stolen: float | None = None
    throttled: float | None = None
    waited: float | None = None


def lost_between(before: Reading, now: Reading) -> LostShares:
    """What was lost from one reading to a later one."""
    stolen = throttled = waited = None
    if before.stolen is not None and now.stolen is not None and now.passed > before.passed:
        stolen = _share(now.stolen - before.stolen, now.passed - before.passed)
    held_back = [now.throttled_s[path] - before.throttled_s.get(path, 0.0) for path in now.throttled_s]
    if held_back and now.at_s > before.at_s:
        throttled = _share(max(held_back), now.at_s - before.at_s)
    if before.ran_s is not None and now.ran_s is not None:
        lost_s = now.waited_s - before.waited_s
        wanted_s = now.ran_s - before.ran_s + lost_s
        waited = _share(lost_s, wanted_s) if wanted_s > 0 else None
    return LostShares(stolen, throttled, waited)


class KernelCounters:
    """Reads them.

    Args:
        proc: Where the kernel's tree of processes is mounted.
        sys: Where that of devices is.
        clock: Monotonic. [s]
    """

    def __init__(
        self, proc: Path = Path("/proc"), sys: Path = Path("/sys"), clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._proc = proc
        self._clock = clock
        self._mountinfo = _text(proc / "self/mountinfo")
        cores = sorted(os.sched_getaffinity(0))[:CORES_ASKED]
        scaling = (sys / f"devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq" for core in cores)
        self._frequencies = [path for path in scaling if path.exists()]

    def read(self, thread: int) -> Reading:
        """All of them; takes some tenths of a millisecond.

        Args:
            thread: The kernel's number of the thread that computes.
        """
        stolen, passed = _stolen_ticks(_text(self._proc / "stat"))
        ran_s, waited_s = _scheduled(_text(self._proc / f"self/task/{thread}/schedstat"))
        groups = _groups(self._mountinfo, _text(self._proc / "self/cgroup"))
        throttled_s = {str(path): held for path in groups if (held := _throttled(_text(path / "cpu.stat"))) is not None}
        frequencies = [int(text) for path in self._frequencies if (text := _text(path).strip()).isdigit()]
        mean_hz = 1e3 * sum(frequencies) / len(frequencies) if frequencies else None
        return Reading(self._clock(), stolen, passed, throttled_s, ran_s, waited_s, mean_hz)


def _share(part: float, whole: float) -> float:
    return min(max(part / whole, 0.0), 1.0)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _numbers(words: Sequence[str]) -> list[int]:
    return [int(word) for word in words] if all(word.isdigit() for word in words) else []


def _stolen_ticks(stat: str) -> tuple[int | None, int]:
    """Stolen and all ticks of /proc/stat."""
    name, *words = stat.partition("\n")[0].split() or [""]
    ticks = _numbers(words)
    if name != "cpu" or len(ticks) <= STEAL:
        return None, 0
    return ticks[STEAL], sum(ticks[: STEAL + 1])


def _scheduled(schedstat: str) -> tuple[float | None, float]:
    """Seconds that a thread ran and waited, of nanoseconds and a count."""
    numbers = _numbers(schedstat.split())
    return (numbers[0] / 1e9, numbers[1] / 1e9) if len(numbers) >= 2 else (None, 0.0)


def _throttled(stat: str) -> float | None:
    """How long a control group was held back; None where no limit was in force yet. [s]"""
    figures = {
        key: int(value) for key, _, value in (line.partition(" ") for line in stat.splitlines()) if value.isdigit()
    }
    if not figures.get("nr_periods"):
        return None
    if "throttled_usec" in figures:
        return figures["throttled_usec"] / 1e6
    return figures.get("throttled_time", 0) / 1e9


def _groups(mountinfo: str, cgroup: str) -> list[Path]:
    """Folders of a process' control groups for the processor, its own and those above it, of both versions.

    A group is named from the root of its hierarchy; a container sees only the part of it that is mounted there.
    """
    found: list[Path] = []
    for controllers, path in (line.split(":", 2)[1:] for line in cgroup.splitlines() if line.count(":") >= 2):
        if controllers and "cpu" not in controllers.split(","):
            continue
        for root, mounted in _mounts(mountinfo, version_2=not controllers):
            inside = path.removeprefix(root.rstrip("/")).strip("/") if path.startswith(root) else ""
            own = mounted / inside
            found += [own, *(above for above in own.parents if above == mounted or mounted in above.parents)]
    return found


def _mounts(mountinfo: str, *, version_2: bool) -> list[tuple[str, Path]]:
    """Root within the hierarchy, and mount point."""
    found: list[tuple[str, Path]] = []
    for line in mountinfo.splitlines():
        mount, _, system = line.partition(" - ")
        words, said = mount.split(), system.split()
        if len(words) < 5 or len(said) < 3:
            continue
        fits = said[0] == "cgroup2" if version_2 else said[0] == "cgroup" and "cpu" in said[2].split(",")
        if fits:
            found.append((words[3], Path(words[4])))
    return found
