"""Planning shapes of a model and their names: NAME the first, NAME@2, NAME@3 and so on the further ones.

Owns: what planning shapes are called, which records are of one model, what a record's plans are made for. Its rule: pure. Not here:
making the record of a further one (`intake/variants.py`), which shapes are planned for (`named_shapes.py`,
`deciding/beside/shape_watch.py`), who keeps the records (`catalog.py`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from edgesplit.names import base_name, planned_name, source_of, variant_name, variant_number
from edgesplit_controller.models.model_record import ModelRecord
from edgesplit_controller.models.named_shapes import Shape

__all__ = [
    "deployments_of",
    "first_free",
    "follows",
    "is_first",
    "largest_bytes",
    "of_model",
    "planned_for",
    "shape_text",
]


def is_first(name: str) -> bool:
    """Whether a name is that of a model, and so of its first planning shape at its first source."""
    return name == base_name(name)


def of_model(names: Collection[str], model: str) -> tuple[str, ...]:
    """The names of a model's planning shapes, and of their deployments, among others; the first one first."""
    own = (name for name in names if base_name(name) == model)
    return tuple(sorted(own, key=lambda name: (variant_number(name), source_of(name))))


def deployments_of(names: Collection[str], planned: str) -> tuple[str, ...]:
    """The deployments of a planning shape among others, that at the first source first."""
    return tuple(sorted(name for name in names if planned_name(name) == planned))


def first_free(names: Collection[str], model: str) -> str:
    """The name for one more planning shape."""
    number = 2
    while variant_name(model, number) in names:
        number += 1
    return variant_name(model, number)


def planned_for(record: ModelRecord) -> dict[str, Shape]:
    """What a record's plans are made for: the shape of each input that has open axes."""
    return {spec.name: spec.typical for spec in record.inputs if spec.typical}


def shape_text(shapes: Mapping[str, Shape]) -> str:
    """A planning shape, for people: `x 1x3x48x320`."""
    return ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in shapes.items())


def largest_bytes(first: ModelRecord, shapes: Mapping[str, Shape]) -> float:
    """What the largest tensor of a model takes at other sizes, as its bytes grow with them. [B]"""
    form = first.graph.open
    if form is None:
        return 0.0
    ratios = [
        max((shapes[entry][axis] for entry, axis in size.places if entry in shapes), default=size.planned)
        / size.planned
        for size in form.sizes
    ]
    return max(
        tensor.nbytes * math.prod(ratio**power for ratio, power in zip(ratios, form.growth.get(name, ()), strict=False))
        for name, tensor in first.graph.tensors.items()
    )


def follows(record: ModelRecord, first: ModelRecord) -> bool:
    """Whether a variant was made of this record of its model."""
    mine, its = record.manifest, first.manifest
    return (mine.sha256, mine.stage, mine.quantizable, mine.ranges, mine.units, mine.noise) == (
        *(its.sha256, its.stage, its.quantizable, its.ranges, its.units, its.noise),
    )
