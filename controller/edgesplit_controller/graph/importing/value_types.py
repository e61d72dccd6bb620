"""Element type and shape of a value, as far as known.

Owns: `ValueType`. Its rule: a size that is not known is -1, a shape whose rank is not known is None. Not here: finding
types (`shapes.py`, `bodies.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

from edgesplit_controller.graph.protos import numpy_name

__all__ = ["ValueType"]


@dataclass(frozen=True, slots=True)
class ValueType:
    """What is known of a value.

    Attributes:
        elem_type: ONNX element type, 0 for what is no tensor or not known yet.
        shape: With -1 for open dimensions; None when even the rank is not known.
        is_tensor: False for sequences, maps and optionals.
        seen: Of a value whose shape depends on the data, the largest that a run showed.
    """

    elem_type: int
    shape: tuple[int, ...] | None
    is_tensor: bool = True
    seen: tuple[int, ...] | None = None

    @property
    def known(self) -> bool:
        """Whether type and every dimension are known."""
        return self.is_tensor and self.elem_type != 0 and self.shape is not None and min(self.shape, default=0) >= 0

    @property
    def dtype(self) -> str:
        """Return numpy's name of the element type."""
        return numpy_name(self.elem_type) if self.is_tensor else "object"
