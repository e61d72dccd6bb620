"""Tensors on the wire: dtype names, specifications, checks of what a caller hands in.

Owns: the allow-list of dtypes that may travel, and the comparison of arrays with specifications. Its rule: what passes
here is C-contiguous, native-endian and of an allowed dtype. Not here: wire codecs (`wire/codecs`) and frames
(`wire/frames.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgesplit.errors import InvalidTensor
from edgesplit.wire.tensor_spec import TensorSpec

__all__ = [
    "DTYPES",
    "FLOAT_DTYPES",
    "Array",
    "as_bytes",
    "check_inputs",
    "contiguous",
    "dtype_name",
    "tensor_bytes",
]

Array = NDArray[Any]


FLOAT_DTYPES = frozenset({"float16", "float32", "float64"})
DTYPES: Mapping[str, np.dtype[Any]] = {
    name: np.dtype(name)
    for name in (
        *sorted(FLOAT_DTYPES),
        *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool"),
    )
}
"""Numpy dtypes by the name they have on the wire; everything else is refused."""
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
"""numpy spells a dtype's name anew each time it is asked; hot paths look it up."""


def contiguous(name: str, array: Array) -> Array:
    """Return `array` C-contiguous and native-endian, copied only where it is not.

    Args:
        name: Tensor's name, for the message.
        array: Any numpy array or what numpy makes one of.

    Raises:
        InvalidTensor: Its dtype cannot travel (text, objects, complex numbers).
    """
    array = np.asarray(array)
    if array.dtype in _NAMES and array.flags.c_contiguous:
        return array
    if array.dtype.name not in DTYPES:
        raise InvalidTensor(f"tensor {name!r} has dtype {array.dtype.name}, which cannot be sent: use {_known()}")
    # ascontiguousarray would turn a scalar into a vector.
    return np.asarray(array, dtype=DTYPES[array.dtype.name], order="C")


def dtype_name(array: Array) -> str:
    """The name of an array's dtype, as on the wire."""
    return _NAMES.get(array.dtype) or array.dtype.name


def tensor_bytes(spec: TensorSpec) -> int:
    """What a tensor takes in memory, at the planning shape where sizes are open. [B]"""
    return math.prod(spec.sizes) * DTYPES[spec.dtype].itemsize


def as_bytes(array: Array) -> memoryview:
    """The memory of a C-contiguous array, without a copy."""
    return memoryview(array.reshape(-1).view(np.uint8).data)


def check_inputs(specs: Sequence[TensorSpec], arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Compare a request's tensors with what the model expects.

    Args:
        specs: The model's inputs.
        arrays: The request's, by name.

    Returns:
        The arrays in the order of `specs`, C-contiguous.

    Raises:
        InvalidTensor: One is missing or too many, or has another dtype or a shape that the model does not admit.
    """
    checked = {spec.name: contiguous(spec.name, arrays[spec.name]) for spec in specs if spec.name in arrays}
    if len(checked) < len(specs) or len(arrays) > len(checked):
        raise _wrong_names(specs, arrays)
    for spec in specs:
        array = checked[spec.name]
        if dtype_name(array) != spec.dtype:
            raise InvalidTensor(f"input {spec.name!r} has dtype {dtype_name(array)}, expected {spec.dtype}: convert it")
        if not spec.admits(array.shape):
            raise InvalidTensor(
                f"input {spec.name!r} has shape {list(array.shape)}, expected {spec.text}: reshape or resize it"
            )
    return checked


def _wrong_names(specs: Sequence[TensorSpec], arrays: Mapping[str, Array]) -> InvalidTensor:
    """What to say of tensors that are no inputs, or of inputs that are missing."""
    listed = ", ".join(repr(spec.name) for spec in specs) or "none"
    expected = {spec.name for spec in specs}
    for name in arrays:
        if name not in expected:
            return InvalidTensor(f"tensor {name!r} is not an input of the model: its inputs are {listed}")
    missing = next(spec for spec in specs if spec.name not in arrays)
    return InvalidTensor(f"input {missing.name!r} ({_text(missing)}) is missing: the model's inputs are {listed}")


def _text(spec: TensorSpec) -> str:
    return f"{spec.dtype}{spec.text}"


def _known() -> str:
    return ", ".join(sorted(DTYPES))
