"""What a script that was played found: requests and energy over time, reactions to changes, what an oracle's plans take.

Owns: these values, a part of the results document (`lab/results.py`). Its rule: plain values with units in their names. Not here: how
they come about (`lab/dynamics`).
"""

from __future__ import annotations

import msgspec

__all__ = [
    "DynamicRun",
    "EnergySample",
    "OraclePlan",
    "PlanCost",
    "Reaction",
    "ScriptedChange",
    "TracedRequest",
]


class ScriptedChange(msgspec.Struct, kw_only=True):
    """A change of the world.

    Attributes:
        at_s: From the run's begin. [s]
        what: In words.
    """

    at_s: float
    what: str


class TracedRequest(msgspec.Struct, kw_only=True):
    """One request of a run over time.

    Attributes:
        at_s: When it was sent, from the run's begin. [s]
        latency_s: None where it failed. [s]
        failed: Whether no answer came.
        epoch: That answered; None where nobody knows.
    """

    at_s: float
    latency_s: float | None = None
    failed: bool = False
    epoch: int | None = None


class EnergySample(msgspec.Struct, kw_only=True):
    """Energy of a request, or of the requests since the sample before, per request.

    Attributes:
        at_s: From the run's begin. [s]
        joules: Per request. [J]
    """

    at_s: float
    joules: float


class Reaction(msgspec.Struct, kw_only=True):
    """How fast a strategy followed one change; seconds from the change, None where it never did.

    Attributes:
        change: Its place in `changes`, from 0.
        noticed_s: Until the controller spoke of it. [s]
        switched_s: Until another plan served. [s]
        within_5_percent_s: Until requests cost at most 5 % more than the oracle's, by the goals of that time. [s]
        plan_within_5_percent_s: Until the plan that answered would, by the true problem: modelled. [s]
        oracle_stays: The oracle's plan is the one before: the best answer is none, and `switched_s` is 0 where there was none.
    """

    change: int
    noticed_s: float | None = None
    switched_s: float | None = None
    within_5_percent_s: float | None = None
    plan_within_5_percent_s: float | None = None
    oracle_stays: bool = False


class PlanCost(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan would take in the world of an interval, by the true problem: modelled.

    Attributes:
        interval: Its number, from 0.
        epoch: Of the plan; 0: the oracle's of this interval.
        latency_s: The end of its timeline. [s]
        joules: Of a request. [J]
    """

    interval: int
    epoch: int
    latency_s: float
    joules: float


class OraclePlan(msgspec.Struct, kw_only=True):
    """What the best plan for the present world takes, over a stretch of a run.

    Attributes:
        from_s: From the run's begin. [s]
        to_s: From the run's begin. [s]
        latency_s: Measured with that plan, while the world was like that. [s]
        joules: Of a request, measured likewise; None where it did not serve long enough to tell. [J]
    """

    from_s: float
    to_s: float
    latency_s: float
    joules: float | None = None


class DynamicRun(msgspec.Struct, kw_only=True):
    """One strategy while the script changed the world.

    Attributes:
        strategy: `edgesplit`, `static:device`, `static:edge`, `static:cloud`, `static:split`, `oracle`, `pause-resume`.
        model: Its name.
        at_unix_s: When it began. [s]
        changes: The script, as it was played.
        requests: Every one, in order.
        energy: Configured watts times measured seconds.
        reactions: By change.
        oracle_s: The best there was, by stretch.
        plan_costs: Of the plans that served, and the oracle's.
    """

    strategy: str
    model: str
    at_unix_s: float
    changes: list[ScriptedChange] = []
    requests: list[TracedRequest] = []
    energy: list[EnergySample] = []
    reactions: list[Reaction] = []
    oracle_s: list[OraclePlan] = []
    plan_costs: list[PlanCost] = []
