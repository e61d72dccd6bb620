"""Well-known topologies at real size with seeded weights, written from the papers: `build(name)`, `names()`.

Owns the list of topologies and their default sizes. Its one rule: the same arguments give the same bytes; nothing is
downloaded, no torch is needed. The weights are random: these models are for measuring and testing, not for answers.
The topologies live in one module each, imported when asked for; the layers they share in `builder`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, cast

from edgesplit.errors import InvalidInput

if TYPE_CHECKING:
    import onnx

__all__ = ["build", "names"]


@dataclass(frozen=True, slots=True)
class _Topology:
    """Where a topology is and its usual size."""

    module: str
    function: str
    size: int


_TOPOLOGIES = {
    "resnet50": _Topology("resnet", "build_resnet50", 224),
    "mobilenet_v2": _Topology("mobilenet", "build_mobilenet_v2", 224),
    "yolo_seg": _Topology("yolo_seg", "build_yolo_seg", 640),
    "transformer_encoder": _Topology("transformer", "build_transformer_encoder", 128),
}


def names() -> tuple[str, ...]:
    """Return the names that `build` knows."""
    return tuple(_TOPOLOGIES)


def build(name: str, *, seed: int = 0, scale: float = 1.0, size: int | None = None) -> onnx.ModelProto:
    """Build a topology with random weights.

    Args:
        name: One of `names()`.
        seed: Seed of the weights.
        scale: Multiplier of channels (of layers and heads for the transformer); 1 is the real size.
        size: Height and width of the image [pixel] or length of the sequence [token]; None is the usual one.

    Returns:
        A checked model with static shapes, float32, opset 17; activations are of order 1.

    Raises:
        InvalidInput: The name is unknown, or scale or size cannot be built.
    """
    topology = _TOPOLOGIES.get(name)
    if topology is None:
        raise InvalidInput(f"there is no topology {name!r}; choose one of {', '.join(_TOPOLOGIES)}")
    if scale <= 0:
        raise InvalidInput(f"a scale of {scale} leaves no channels; pass a positive one")
    usual_size = topology.size if size is None else size
    if usual_size < 1:
        raise InvalidInput(f"a size of {usual_size} leaves no input; pass a positive one")
    module = import_module(f"{__name__}.{topology.module}")
    make = cast("Callable[[int, float, int], onnx.ModelProto]", getattr(module, topology.function))
    try:
        return make(seed, scale, usual_size)
    except ValueError as error:
        raise InvalidInput(f"{name} cannot be built at size {usual_size}: {error}") from error
