"""Cut frontiers: which tensors a cut would send, and which cuts are likeliest.

Owns: the frontiers of a graph (all tensors alive between one unit and the next) and their order. Its rule: facts of
the graph only. Not here: measuring what coding them does (`quantization/codecs/codec_noise.py`).

A plan that hands the rest of the graph over sends a frontier, and small ones are cheap to send. So frontiers come in
order of their size, taken in turn from stretches of the graph: an operator's machines decide which stretch matters.
"""

from __future__ import annotations

from collections.abc import Iterator

from edgesplit_controller.graph.model_graph import ModelGraph
from edgesplit_controller.graph.unit_tensors import INPUT, unit_tensors

__all__ = ["frontiers", "in_order_of_worth"]

STRETCHES = 12


def frontiers(graph: ModelGraph) -> list[tuple[tuple[str, ...], int]]:
    """All frontiers in graph order, the inputs first.

    Returns:
        Tensors alive in front of each unit, and their bytes together. [B]
    """
    place = {unit.name: index for index, unit in enumerate(graph.units)}
    end = len(graph.units)
    spans = [
        (
            tensor,
            0 if tensor.producer == INPUT else place[tensor.producer] + 1,
            max(place.get(consumer, end) for consumer in tensor.consumers),
        )
        for tensor in unit_tensors(graph)
    ]
    found: list[tuple[tuple[str, ...], int]] = []
    for position in range(end + 1):
        alive = [tensor for tensor, born, read in spans if born <= position <= read]
        found.append((tuple(tensor.name for tensor in alive), sum(tensor.nbytes for tensor in alive)))
    return found


def in_order_of_worth(graph: ModelGraph) -> Iterator[tuple[str, ...]]:
    """Every frontier once: the inputs, then the smallest of each stretch, the next smallest of each, and so on."""
    every = frontiers(graph)
    yield every[0][0]
    rest = list(range(1, len(every)))
    length = max(1, -(-len(rest) // STRETCHES))
    stretches = [sorted(rest[at : at + length], key=lambda i: every[i][1]) for at in range(0, len(rest), length)]
    for turn in range(length):
        for stretch in stretches:
            if turn < len(stretch):
                yield every[stretch[turn]][0]
