"""Belief about a node's speed over a restart: what is kept of it, and what is believed again.

Owns: both ways. Its rule: pure; what was learned is believed less than before, for time went by that nobody saw. Not here: the
belief itself (`speed_belief.py`), the file (`storage`).
"""

from __future__ import annotations

import math
from dataclasses import replace

from edgesplit_controller.fleet.estimation.observations import ProfileSeen
from edgesplit_controller.fleet.estimation.speed_belief import (
    CODINGS,
    NODE,
    PRECISION,
    PRECISION_ERROR,
    SPELL,
    TENSOR_ERROR,
    TYPICAL,
    TYPICAL_ERROR,
    KnownPart,
    NodeSpeed,
    begun,
    own,
    own_variance,
    spells,
)
from edgesplit_controller.storage.saved_speeds import SavedPart, SavedSpeed

__all__ = ["believed_again", "saved_belief"]

NODE_ERROR = 0.03
"""What a node's factor may have become meanwhile. [1]"""
WORTH = 0.5
"""Of the variances that things had before anything was learned of them, what is left after a restart. [1]"""


def saved_belief(node: str, model: str, profile: str, told_s: float, speed: NodeSpeed) -> SavedSpeed:
    """What a restart finds.

    Args:
        node: Its name.
        model: The model's.
        profile: Digest of the profile that is corrected.
        told_s: The whole model's seconds that people were last told. [s]
        speed: What is believed.
    """
    belief = speed.belief
    typical, precision = belief.expected({TYPICAL: 1.0})[0], belief.expected({PRECISION: 1.0})[0]
    parts = {
        key: SavedPart(part.float_s, part.int8_s, math.exp(belief.expected({own(key): 1.0})[0]))
        for key, part in speed.known.items()
    }
    codings = {name: belief.expected({name: 1.0})[0] for name in belief.kinds if name.startswith(CODINGS)}
    return SavedSpeed(
        node=node,
        model=model,
        profile=profile,
        told_s=told_s,
        factor=speed.factor,
        known=parts,
        origin=speed.origin,
        relapses=speed.relapses,
        slow_down=speed.slow_down,
        typical=typical,
        precision=precision,
        spell=speed.spell,
        codings=codings,
    )


def believed_again(profile: ProfileSeen, saved: SavedSpeed) -> NodeSpeed:
    """What is believed of a node whose profile was corrected before a restart."""
    speed = begun(profile)
    belief = speed.belief.without((NODE, TYPICAL, PRECISION))
    belief = belief.with_quantity(NODE, math.log(saved.factor), NODE_ERROR**2, speed.belief.kinds[NODE])
    belief = belief.with_quantity(TYPICAL, saved.typical, WORTH * TYPICAL_ERROR**2)
    belief = belief.with_quantity(PRECISION, saved.precision, WORTH * PRECISION_ERROR**2)
    for key, part in saved.known.items():
        variance = WORTH * own_variance(speed, max(part.float_s + part.int8_s, 1e-12))
        belief = belief.with_quantity(own(key), math.log(max(part.error, 1e-3)), variance)
    for name, mean in saved.codings.items():
        belief = belief.with_quantity(name, mean, WORTH * TENSOR_ERROR**2)
    if saved.spell > 0:
        belief = belief.with_kind(SPELL, spells(saved.spell))
    return replace(
        speed,
        belief=belief,
        known={key: KnownPart(part.float_s, part.int8_s) for key, part in saved.known.items()},
        origin=saved.origin,
        relapses=saved.relapses,
        slow_down=saved.slow_down,
    )
