"""Where a model's rollout stands, as it is kept over a restart.

Owns: the plan that serves, the one being prepared, those retiring, and fallbacks, each as the rollout's steps know it. Its
rule: values only; a key may be added, never renamed, so some keys are older words than the names here. Not here: the steps (`rollout/steps.py`), the plans themselves (`storage/deployment_state.py`).
"""

from __future__ import annotations

import msgspec

__all__ = ["EpochPlan", "FallbackEpoch", "Rollout"]


class FallbackEpoch(msgspec.Struct, frozen=True, kw_only=True):
    """A prepared epoch that serves when a node is lost.

    Attributes:
        lost: The nodes it does without, each of which it may stand in for.
        participants: Nodes that hold a part; always has the source.
        ready: Every participant prepared it.
    """

    epoch: int
    lost: tuple[str, ...]
    participants: tuple[str, ...]
    ready: bool = False


class EpochPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What the state machine needs to know of a plan.

    Attributes:
        participants: Nodes that hold a part; always has the source.
        local_fallback: Epoch that runs everything on the source, or None where it does not apply.
    """

    epoch: int
    source: str
    participants: tuple[str, ...]
    local_fallback: int | None = msgspec.field(default=None, name="fallback")


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """Where a model stands.

    Attributes:
        active: What serves.
        upcoming: What is being prepared or activated.
        activating: Every participant prepared `upcoming`, and its source was told to serve it.
        begun_unix_s: When preparing `upcoming` began. [s since the epoch]
        limit_s: After how long it is given up. [s]
        retiring: What no longer serves new requests but may still have some in flight.
        fallbacks: What serves instead of `active` while a node is lost.
    """

    active: EpochPlan | None = None
    upcoming: EpochPlan | None = None
    activating: bool = False
    begun_unix_s: float = 0.0
    limit_s: float = 0.0
    retiring: tuple[EpochPlan, ...] = ()
    fallbacks: tuple[FallbackEpoch, ...] = msgspec.field(default=(), name="spares")

    @property
    def plans(self) -> tuple[EpochPlan, ...]:
        """Every plan that nodes still hold, but for fallbacks."""
        current = tuple(plan for plan in (self.active, self.upcoming) if plan is not None)
        return current + self.retiring
