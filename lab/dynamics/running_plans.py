"""Plans that serve during a play, noted as each begins to.

Owns: when the controller is asked for the plan. Its rule: asked once for each that is heard to begin; a strategy that serves nothing just now is
asked again later. Not here: what plans are worth (`outcome/plan_costs.py`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from demo.fleet import CommandFailed
from lab.dynamics.outcome.plan_costs import NotedPlan

__all__ = ["noted_plans"]

LOOK_S, AGAIN_S = 0.2, 1.0
"""So often it is seen whether another plan serves, and asked again where none could be told: asking takes a core for half a second. [s]"""
BEGINS = b'"epoch-activated"'
"""In the listener's line of such an event."""


@contextmanager
def noted_plans(ask: Callable[[], Mapping[str, Any]], heard: Path) -> Generator[list[NotedPlan]]:
    """Note the plan that serves now, and each that begins to while this lasts.

    Args:
        ask: The document of `splitctl plan`.
        heard: Where the listener's lines go.
    """
    plans: list[NotedPlan] = []
    over = threading.Event()

    def look() -> bool:
        """Whether it could be asked for."""
        try:
            plan = _noted(ask())
        except CommandFailed:  # nothing serves just now, as while a strategy pauses
            return False
        if plan.epoch not in {noted.epoch for noted in plans}:
            plans.append(plan)
        return True

    def watch() -> None:
        begun, known = 0, look()
        while not over.wait(LOOK_S if known else AGAIN_S):
            now = heard.read_bytes().count(BEGINS)
            if now != begun or not known:
                begun, known = now, look()

    watching = threading.Thread(target=watch, name="running-plans")
    watching.start()
    try:
        yield plans
    finally:
        over.set()
        watching.join()


def _noted(document: Mapping[str, Any]) -> NotedPlan:
    operators = {name: part["node"] for part in document["components"] for name in part["operators"]}
    return NotedPlan(
        epoch=document["epoch"],
        operators=operators,
        quantized=tuple(document["quantized"]),
        codecs=document["codecs"],
    )
