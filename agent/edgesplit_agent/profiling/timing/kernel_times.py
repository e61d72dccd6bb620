"""Kernel times: onnxruntime's profile read as seconds per unit.

Owns: the profile's JSON form and the rule that maps kernels to units. Its rule: every kernel's time goes to exactly
one unit, so that the units sum to the whole. Not here: running the model (`profile_measurement.py`).
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edgesplit.control.profile_messages import ProfilePlan
from edgesplit.errors import PreparationFailed
from edgesplit_agent.compute.providers import ASYNCHRONOUS, CPU
from edgesplit_agent.profiling.timing.robust_statistics import standard_error

__all__ = [
    "INTEGER_KERNELS",
    "SESSION_SPREAD",
    "Kernel",
    "is_opaque",
    "kernel_runs",
    "modelled_times",
    "unit_spreads",
    "unit_times",
]

SUFFIX = "_kernel_time"
TAG = re.compile(r"unit\d+")
"""The controller starts every node's and tensor's name with its unit's tag; fused kernels keep one of them."""
NESTED = "nested"
"""Kernels of a control-flow node's body; the node's own time contains them."""

FOR_WHAT_FOLLOWS = frozenset({"ReorderInput", "MemcpyFromHost"})
COPIES = frozenset({"MemcpyFromHost", "MemcpyToHost"})

INTEGER_KERNELS = frozenset(
    {"QLinearConv", "QGemm", "QLinearMatMul", "MatMulIntegerToFloat", "ConvInteger", "MatMulInteger"}
)
"""What onnxruntime makes of an operator in int8 with the conversions around it."""

SESSION_SPREAD = 0.03
"""Of a unit's share from one session of the same graph to another on the same machine, beyond that of its runs: 0 to 0.05 in twelve
comparisons of profiles that this machine made of two models, 0.02 at the median. [1]"""


class _Arguments(msgspec.Struct, frozen=True):
    op_name: str = ""
    provider: str = ""


class _ProfileEvent(msgspec.Struct, frozen=True):
    """One line of onnxruntime's profile; times in microseconds."""

    cat: str
    name: str
    ts: float = 0.0
    dur: float = 0.0
    args: _Arguments = _Arguments()


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel of one run.

    Attributes:
        name: Of the graph node, or what the runtime made of it.
        operator: Its type.
        seconds: [s]
        provider: That runs it; empty where the profile does not say.
    """

    name: str
    operator: str
    seconds: float
    provider: str = ""


def kernel_runs(report: Path) -> list[list[Kernel]]:
    """The kernels of every run, in the order of execution.

    Args:
        report: The file that `end_profiling` names.

    Raises:
        PreparationFailed: It is no profile.
    """
    try:
        events = msgspec.json.decode(report.read_bytes(), type=list[_ProfileEvent])
    except (OSError, msgspec.DecodeError) as error:
        raise PreparationFailed(f"onnxruntime's profile cannot be read: {error}") from error
    runs = sorted((event.ts, event.ts + event.dur) for event in events if event.name == "model_run")
    kernels = sorted(
        (event for event in events if event.cat == "Node" and event.name.endswith(SUFFIX)), key=lambda event: event.ts
    )
    result: list[list[Kernel]] = []
    position = 0
    for begin, end in runs:
        while position < len(kernels) and kernels[position].ts < begin:
            position += 1
        run: list[Kernel] = []
        while position < len(kernels) and kernels[position].ts <= end:
            event = kernels[position]
            arguments = event.args
            name = event.name.removesuffix(SUFFIX)
            run.append(Kernel(name, arguments.op_name, event.dur / 1e6, arguments.provider))
            position += 1
        result.append([kernel for kernel in run if not kernel.name.startswith(NESTED)])
    return [run for run in result if run]


def unit_times(
    runs: Sequence[Sequence[Kernel]], plan: ProfilePlan, whole_s: float, *, only: frozenset[str] | None = None
) -> dict[str, float]:
    """Seconds per unit: the median of each kernel's share of its run, summed per unit, scaled to the whole.

    Shares, so that kernels do not take their medians from runs of different spells of the machine. A unit without kernels was
    folded away and takes no time.

    Args:
        runs: Of the same session.
        plan: Which kernel belongs to which unit.
        whole_s: What the whole takes without the profiler. [s]
        only: Types of kernels that count; None for all.

    Returns:
        Every unit's seconds, summing to `whole_s` when all kernels count. [s]
    """
    shares: dict[tuple[str, int], list[float]] = {}
    owners: dict[tuple[str, int], str] = {}
    counted: dict[tuple[str, int], bool] = {}
    for run in runs:
        seen: dict[str, int] = {}
        run_s = sum(kernel.seconds for kernel in run) or 1.0
        for kernel, unit in zip(run, _units_of(run, plan), strict=True):
            # A name may occur several times in a run (a kernel without one); the n-th are compared with each other.
            key = kernel.name, seen.get(kernel.name, 0)
            seen[kernel.name] = key[1] + 1
            shares.setdefault(key, []).append(kernel.seconds / run_s)
            owners[key] = unit
            counted[key] = only is None or kernel.operator in only
    times = dict.fromkeys(plan.units, 0.0)
    total = 0.0
    for key, values in shares.items():
        share = statistics.median(values)
        total += share
        if counted[key]:
            times[owners[key]] += share
    scale = whole_s / total if total > 0 else 0.0
    return {unit: share * scale for unit, share in times.items()}


def unit_spreads(runs: Sequence[Sequence[Kernel]], plan: ProfilePlan) -> dict[str, float]:
    """Standard error of each unit's share of the whole, relative; units without it are left out. [1]

    That of a median of normal values, pi / 2 times the variance of their mean; what a session does the same in all of its runs
    (where its memory lies) comes on top (`SESSION_SPREAD`).

    Args:
        runs: Of the same session.
        plan: Which kernel belongs to which unit.
    """
    shares: dict[str, list[float]] = {}
    for run in runs:
        run_s = sum(kernel.seconds for kernel in run) or 1.0
        seconds: dict[str, float] = {}
        for kernel, unit in zip(run, _units_of(run, plan), strict=True):
            seconds[unit] = seconds.get(unit, 0.0) + kernel.seconds
        for unit, taken_s in seconds.items():
            shares.setdefault(unit, []).append(taken_s / run_s)
    return {
        unit: math.hypot(standard_error(values) * math.sqrt(math.pi / 2), SESSION_SPREAD)
        for unit, values in shares.items()
        if len(values) > 1 and min(values) > 0
    }


def is_opaque(run: Sequence[Kernel], plan: ProfilePlan) -> bool:
    """Whether a run's profile does not show what its units take."""
    return any(_hides(kernel, plan) for kernel in run)


def modelled_times(
    runs: Sequence[Sequence[Kernel]], plan: ProfilePlan, whole_s: float, processor_s: Mapping[str, float]
) -> dict[str, float]:
    """Seconds per unit where the profile hides some: what is left of the whole, by the shares of the processor.

    A provider that compiles operators into one kernel, or only launches them, tells nothing of the units inside.
    Units that ran in readable kernels keep what those took.

    Args:
        runs: Of the same session.
        plan: Which kernel belongs to which unit.
        whole_s: What the whole takes without the profiler. [s]
        processor_s: What the units take on the processor; only their proportions matter. [s]

    Returns:
        Every unit's seconds, summing to `whole_s`. [s]
    """
    readable: dict[tuple[str, int], list[float]] = {}
    owners: dict[tuple[str, int], str] = {}
    hidden: set[str] = set()
    for run in runs:
        seen: dict[str, int] = {}
        for kernel, unit in zip(run, _units_of(run, plan), strict=True):
            if _hides(kernel, plan):
                hidden.update(filter(None, [_named_unit(kernel.name, plan)]))
            elif kernel.operator not in COPIES:
                key = kernel.name, seen.get(kernel.name, 0)
                seen[kernel.name] = key[1] + 1
                readable.setdefault(key, []).append(kernel.seconds)
                owners[key] = unit
    times = dict.fromkeys(plan.units, 0.0)
    for key, values in readable.items():
        times[owners[key]] += statistics.median(values)
    taken_s = sum(times.values())
    inside = [unit for unit in plan.units if unit in hidden or times[unit] == 0.0]
    if taken_s >= whole_s or not inside:
        return {unit: seconds * whole_s / (taken_s or 1.0) for unit, seconds in times.items()}
    weights = {unit: processor_s.get(unit, 0.0) for unit in inside}
    total_s = sum(weights.values())
    for unit in inside:
        share = weights[unit] / total_s if total_s > 0 else 1.0 / len(inside)
        times[unit] += share * (whole_s - taken_s)
    return times


def _hides(kernel: Kernel, plan: ProfilePlan) -> bool:
    if kernel.provider in ASYNCHRONOUS:
        return True
    is_elsewhere = kernel.provider not in {"", CPU}
    return is_elsewhere and kernel.operator not in COPIES and _named_unit(kernel.name, plan) is None


def _units_of(run: Sequence[Kernel], plan: ProfilePlan) -> list[str]:
    """The unit of every kernel of a run.

    A kernel the runtime inserted carries no unit's name: a reordering of an input, or a copy to the graphics processor,
    belongs to the kernel after it, every other one to the kernel before.
    """
    named = [_named_unit(kernel.name, plan) for kernel in run]
    following = next((unit for unit in named if unit is not None), plan.units[0])
    units: list[str] = []
    for unit in named:
        following = unit or following
        units.append(following)
    upcoming = units[-1] if units else ""
    for position in range(len(run) - 1, -1, -1):
        if named[position] is not None:
            upcoming = units[position]
        elif run[position].operator in FOR_WHAT_FOLLOWS:
            units[position] = upcoming
    return units


def _named_unit(name: str, plan: ProfilePlan) -> str | None:
    unit = plan.kernel_units.get(name)
    if unit is None and (tag := TAG.search(name)) is not None:
        unit = plan.kernel_units.get(tag.group())
    return unit if unit in plan.units else None
