"""Strategies under a script: when each one changes the world, its plan, or stops serving.

Owns: the schedule of each strategy. Its rule: pure; the world changes alike for all of them, and what a strategy knows
is what its name says. Not here: carrying a schedule out (`play.py`), the plans (`true_problem.py`).

- `edgesplit`: nothing but the script; the live controller answers.
- `static:device`, `static:edge`, `static:cloud`, `static:split`: a fixed plan, `split` being edgesplit's first one.
- `oracle`: deploys the best plan of each interval at its begin.
- `pause-resume`: when a change is known, serving stops, the oracle's plan is deployed, serving goes on (NEUKONFIG's
  baseline).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from edgesplit.planning.plan import Assignment
from lab.dynamics.script import Interval
from lab.scenarios.scenario import STRATEGIES, BatteryChange, GoalsChange

__all__ = ["EDGESPLIT", "ORACLE", "PAUSE_RESUME", "Act", "in_order", "needed", "plan_changes", "schedule"]

EDGESPLIT, ORACLE, PAUSE_RESUME = "edgesplit", "oracle", "pause-resume"
ORDER = (EDGESPLIT, ORACLE, PAUSE_RESUME)
"""Those are played first, in this order: edgesplit on the fresh testbed, and what the others need is known then."""
ASKED = (GoalsChange, BatteryChange)
"""Changes that are asked of the controller, in part or all."""


@dataclass(frozen=True)
class Act:
    """One thing a strategy's play does.

    Attributes:
        at_s: From the script's begin. [s]
        kind: `change`: the world becomes that of an interval; `goals`: and the operator's goals; `deploy`: the interval's plan is
            deployed while the old one serves; `replace`: serving stops, it is deployed, serving goes on.
        interval: Its number, from 0.
    """

    at_s: float
    kind: Literal["change", "goals", "deploy", "replace"]
    interval: int


def in_order(strategies: Iterable[str]) -> list[str]:
    """Strategies in the order in which they are played."""
    return sorted(strategies, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))


def plan_changes(plans: Sequence[Assignment]) -> tuple[bool, ...]:
    """Whether an oracle's plan of each interval is another than that of the one before; the first is no change."""
    return (False, *(after != before for before, after in itertools.pairwise(plans)))


def needed(strategy: str, plans: Sequence[Assignment], noticed_s: Mapping[int, float]) -> str:
    """What is missing for a strategy to be played, in one sentence, or empty."""
    if strategy not in STRATEGIES:
        return f"there is no strategy {strategy}: choose of {', '.join(STRATEGIES)}"
    if strategy in {ORACLE, PAUSE_RESUME} and not plans:
        return f"{strategy} needs the oracle's plans"
    if any(seconds < 0 for seconds in noticed_s.values()):
        return "a change cannot be noticed before it is there"
    return ""


def schedule(
    strategy: str,
    spans: Sequence[Interval],
    plans: Sequence[Assignment],
    noticed_s: Mapping[int, float],
) -> tuple[Act, ...]:
    """What a strategy's play does, in order of time.

    Args:
        strategy: One of `lab.scenarios.scenario.STRATEGIES`.
        spans: The script's intervals.
        plans: The oracle's, one for each; empty where it is not asked.
        noticed_s: Interval to when `pause-resume` knows of its begin, from there; 0 where it is left out. [s]

    Raises:
        ValueError: See `needed`.
    """
    if fault := needed(strategy, plans, noticed_s):
        raise ValueError(fault)
    acts: list[Act] = []
    moved = plan_changes(plans) if plans else (False,) * len(spans)
    for number, span in enumerate(spans):
        if span.changes:
            acts.append(Act(span.from_s, "change", number))
        if any(isinstance(change, ASKED) for change in span.changes) and not strategy.startswith("static:"):
            # A fixed plan answers no goals; asking for them would end it.
            acts.append(Act(span.from_s, "goals", number))
        if strategy == ORACLE and moved[number]:
            acts.append(Act(span.from_s, "deploy", number))
        if strategy == PAUSE_RESUME and moved[number]:
            known_s = span.from_s + noticed_s.get(number, 0.0)
            if known_s < span.to_s:
                acts.append(Act(known_s, "replace", number))
    return tuple(sorted(acts, key=lambda act: act.at_s))
