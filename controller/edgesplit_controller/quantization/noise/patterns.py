"""Design of experiments: which quantization patterns to measure.

Owns: the choice and order of patterns. Its rule: the patterns a planner is likeliest to come near are always
measured: each candidate alone, all, and all but one. Not here: measuring.

The rest is random with every number of quantized candidates equally likely, since a bound on the noise cuts the
patterns by that number more than by anything else. Patterns are ordered as a tree over the candidates in graph order,
so that patterns that agree up to a candidate follow one another and share everything computed before it.
"""

from __future__ import annotations

import numpy as np

__all__ = ["always_measured", "choose_patterns", "in_tree_order"]


def always_measured(candidates: int) -> list[int]:
    """Return the patterns with all candidates, one of them, and all but one quantized."""
    everything = (1 << candidates) - 1
    patterns = [everything, *(1 << bit for bit in range(candidates))]
    patterns += [everything ^ (1 << bit) for bit in range(candidates)]
    return [pattern for pattern in dict.fromkeys(patterns) if pattern]


def choose_patterns(candidates: int, count: int, random: np.random.Generator) -> list[int]:
    """Choose patterns to measure.

    Args:
        candidates: Number of candidates.
        count: How many patterns; all there are if that is fewer. The ones that are always measured may exceed it.
        random: Source of chance.

    Returns:
        Distinct patterns other than the empty one, the always measured ones first.
    """
    chosen = dict.fromkeys(always_measured(candidates))
    everything = (1 << candidates) - 1
    if count >= everything:
        chosen.update(dict.fromkeys(int(pattern) + 1 for pattern in random.permutation(everything)))
        return list(chosen)
    while len(chosen) < count:
        size = int(random.integers(2, candidates - 1, endpoint=True))
        members = random.permutation(candidates)[:size]
        chosen.setdefault(sum(1 << int(bit) for bit in members))
    return list(chosen)


def in_tree_order(patterns: list[int], candidates: int) -> list[int]:
    """Order patterns so that those agreeing in early candidates are neighbours."""
    return sorted(patterns, key=lambda pattern: [pattern >> bit & 1 for bit in range(candidates)])
