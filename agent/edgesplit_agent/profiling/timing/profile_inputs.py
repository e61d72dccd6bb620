"""Inputs of profiling runs: made up, the same every time.

Owns: what is fed to a graph that is only timed. Its rule: seeded. Not here: timing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from edgesplit.late_libraries import np
from edgesplit.wire.tensor_spec import TensorSpec
from edgesplit.wire.tensors import DTYPES, Array, drawn

__all__ = ["profile_inputs"]


def profile_inputs(
    specs: tuple[TensorSpec, ...], values: Mapping[str, tuple[int, ...]] | None = None
) -> dict[str, Array]:
    """Seeded noise for floats; for integers, which may be indices, zeros or the values that they may have; empty texts."""
    generator = np.random.default_rng(0)
    given = values or {}

    def make() -> Iterator[tuple[str, Array]]:
        for spec in specs:
            if spec.name in given:
                yield spec.name, np.array(given[spec.name], DTYPES[spec.dtype]).reshape(spec.sizes)
            else:
                yield spec.name, drawn(spec.dtype, spec.sizes, generator)

    return dict(make())
