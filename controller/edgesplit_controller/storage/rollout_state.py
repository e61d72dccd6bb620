"""Persisted state of a rollout.

Owns: the plan that serves, the one being prepared, those retiring, and fallbacks, each as the rollout's steps know it. Its
rule: values only; a key may be added, never renamed, so some keys are older words than the names here. Not here: the steps (`rollout/steps.py`), the plans themselves (`storage/deployment_state.py`).
"""

from __future__ import annotations

import msgspec

__all__ = ["Epoch", "FallbackEpoch", "Rollout"]


class FallbackEpoch(msgspec.Struct, frozen=True, kw_only=True):
    """A prepared epoch that serves when a node is lost.

    Attributes:
        lost: The nodes it does without, each of which it may stand in for.
        participants: Nodes that hold a part; always has the source.
        ready: Every participant prepared it.
    """

    number: int = msgspec.field(name="epoch")
    lost: tuple[str, ...]
    participants: tuple[str, ...]
    ready: bool = False


class Epoch(msgspec.Struct, frozen=True, kw_only=True):
    """A plan's place in its model's rollout: all of it that the steps need to know.

    Attributes:
        number: Orders the plans of one model.
        participants: Nodes that hold a part; always has the source.
        local_fallback: Number of the one that runs everything on the source, or None where it does not apply.
    """

    number: int = msgspec.field(name="epoch")
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

    active: Epoch | None = None
    upcoming: Epoch | None = None
    activating: bool = False
    begun_unix_s: float = 0.0
    limit_s: float = 0.0
    retiring: tuple[Epoch, ...] = ()
    fallbacks: tuple[FallbackEpoch, ...] = msgspec.field(default=(), name="spares")

    @property
    def epochs(self) -> tuple[Epoch, ...]:
        """Every epoch that nodes still hold, but for fallbacks."""
        current = tuple(epoch for epoch in (self.active, self.upcoming) if epoch is not None)
        return current + self.retiring
