"""Adaptive conformal inference of plans' intervals: whether they held, and how much wider they must be.

Owns: the step that adapts a standard deviation to whether an interval held; one trial of each plan that serves, its first interval
against the mean of its next requests, and the standard deviation that all predictions have in common as a result. Its rule: pure; a miss widens by nine times what a hit narrows by, so that in the
long run nine of ten hold, whatever the estimates behind them are worth. Not here: those (`speed_estimate.py`,
`handling_estimate.py`).

References: I. Gibbs, E. Candes, Adaptive Conformal Inference Under Distribution Shift, NeurIPS 2021.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

__all__ = ["COVERED", "Trial", "Trials", "adapted", "tried"]

FIRST, LEAST, MOST = 0.02, 0.005, 0.3
"""Standard deviation of a whole request's logarithm that its parts do not explain: before any trial, and bounds. [1]"""
GAIN = 0.01
"""What a miss and a hit together move it by. [1]"""
COVERED = 0.9
"""Share of intervals that should hold. [1]"""
WARMING, REQUESTS = 3, 8
"""First requests of a plan that do not count, for they find every cache cold, and how many then make a trial."""
KEPT = 64


def adapted(deviation: float, gain: float, *, missed: bool, bounds: tuple[float, float]) -> float:
    """A standard deviation after one interval made of it held or missed: steady where `COVERED` of them hold. [1]

    Args:
        deviation: Before. [1]
        gain: What a miss and a hit together move it by. [1]
        missed: What happened.
        bounds: Least and most it may become. [1]
    """
    least, most = bounds
    return min(max(deviation + gain * (missed - (1 - COVERED)), least), most)


@dataclass(frozen=True)
class Trial:
    """A plan's interval, and what its requests took so far.

    Attributes:
        interval_s: As it was told before the first of them. [s]
        requests: Those that were counted, warming ones included.
        seconds: Of those that count. [s]
        counted: How many these are.
    """

    interval_s: tuple[float, float]
    requests: int = 0
    seconds: float = 0.0
    counted: int = 0


@dataclass(frozen=True)
class Trials:
    """All plans of one model at one source.

    Attributes:
        deviation: What all predictions err by in common. [1]
        running: Plans to their trials, the latest last; None where it is over.
    """

    deviation: float = FIRST
    running: dict[str, Trial | None] = field(default_factory=dict[str, Trial | None])


def tried(trials: Trials, plan: str, interval_s: tuple[float, float], latency_s: float, requests: int) -> Trials:
    """Take in what requests took.

    Args:
        trials: Before.
        plan: Key of the plan that served them.
        interval_s: Of its latency, as it is told now; the first one counts. [s]
        latency_s: Mean of the requests, as a client sees it. [s]
        requests: How many.
    """
    running = dict(trials.running)
    trial = running.pop(plan, Trial(interval_s))
    deviation = trials.deviation
    if trial is not None:
        cold = min(max(WARMING - trial.requests, 0), requests)
        warm = requests - cold
        trial = replace(
            trial,
            requests=trial.requests + requests,
            seconds=trial.seconds + warm * latency_s,
            counted=trial.counted + warm,
        )
        if trial.counted >= REQUESTS:
            low_s, high_s = trial.interval_s
            missed = not low_s <= trial.seconds / trial.counted <= high_s
            deviation = adapted(deviation, GAIN, missed=missed, bounds=(LEAST, MOST))
            trial = None
    running[plan] = trial
    return Trials(deviation, {key: running[key] for key in list(running)[-KEPT:]})
