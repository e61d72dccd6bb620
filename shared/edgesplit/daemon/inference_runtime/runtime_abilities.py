"""Abilities of an onnxruntime: bfloat16 at the ends of sessions, and the operator sets (opsets) that it loads.

Owns: the way between arrays and onnxruntime's values, and finding out which opsets it knows. Its rule: a session without
bfloat16 at its ends is used as it is, and what counts is what onnxruntime loads, not a table of its releases. Not here:
opening sessions (agents' `compute/runtime.py`, the controller's `graph/runner.py`), which model needs what.

onnxruntime's Python takes and gives arrays of numpy's types alone. For others it has values of its own, which are made on
memory of an array and whose memory is read here.

A model states for each domain of operators the version in which it is written. onnxruntime loads no model of a version
that came after it, even where the model uses nothing new.
"""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from edgesplit.daemon.inference_runtime.late_runtime import inference_runtime
from edgesplit.late_libraries import np
from edgesplit.wire.tensors import DTYPES, Array, contiguous

__all__ = [
    "BfloatSession",
    "as_array",
    "as_value",
    "known_operator_sets",
    "run_arrays",
    "with_bfloat16",
]

_ELEMENT = 16
"""ONNX's number of bfloat16."""
_KIND = "tensor(bfloat16)"
_VERSION_8 = bytes.fromhex("0808")
_IDENTITY = bytes.fromhex(
    "3a370a100a017812017922084964656e746974791201675a0f0a0178120a0a08080112040a020801620f0a0179120a0a08080112040a020801"
)
"""The graph of a serialized model: one Identity."""
_ONNX, _MACHINE_LEARNING = "", "ai.onnx.ml"
_OLDEST = {_ONNX: 13, _MACHINE_LEARNING: 1}
"""Versions that every onnxruntime knows which edgesplit works with."""
_MOST = 127
"""A version up to here is one byte."""
_FATAL = 4
"""onnxruntime's severity: what is tried here is expected to fail once."""


def as_value(array: Array) -> Any:
    """A value on the memory of an array of numbers, which must outlive it."""
    array = contiguous("", array)
    if array.dtype == DTYPES["bfloat16"]:
        return inference_runtime().OrtValue.ortvalue_from_numpy_with_onnx_type(array.view(np.uint16), _ELEMENT)
    return inference_runtime().OrtValue.ortvalue_from_numpy(array)


def as_array(value: Any) -> Any:
    """What a value on the processor holds; for a tensor, an array that needs it no longer."""
    if value.data_type() != _KIND:
        return value.numpy()
    shape = tuple(value.shape())
    count = math.prod(shape)
    if not count:
        return np.zeros(shape, DTYPES["bfloat16"])
    memory = (ctypes.c_uint16 * count).from_address(value.data_ptr())
    return np.frombuffer(memoryview(memory), np.uint16).copy().reshape(shape).view(DTYPES["bfloat16"])


def run_arrays(
    session: Any, outputs: Sequence[str] | None, arrays: Mapping[str, Array], options: Any = None
) -> list[Any]:
    """Run a session on arrays, some of which may be bfloat16, as its outputs; exceptions are onnxruntime's own."""
    names = list(outputs) if outputs is not None else [value.name for value in session.get_outputs()]
    kinds = {value.name: value.type for value in (*session.get_inputs(), *session.get_outputs())}
    if all(kinds.get(name) != _KIND for name in (*arrays, *names)):
        return list(session.run(names, dict(arrays), options))
    values = {name: as_value(array) for name, array in arrays.items()}
    return [as_array(value) for value in session.run_with_ort_values(names, values, options)]


class BfloatSession:
    """A session with bfloat16 at its ends, used as any other.

    Args:
        session: onnxruntime's.
    """

    def __init__(self, session: Any) -> None:
        self._session = session

    def run(self, outputs: Sequence[str] | None, arrays: Mapping[str, Array], options: Any = None) -> list[Any]:
        """As onnxruntime's."""
        return run_arrays(self._session, outputs, arrays, options)

    def get_providers(self) -> list[str]:
        """As onnxruntime's."""
        return list(self._session.get_providers())

    def end_profiling(self) -> str:
        """As onnxruntime's."""
        return str(self._session.end_profiling())


def with_bfloat16(session: Any) -> Any:
    """The session itself, or one that takes and gives bfloat16 where it has such inputs or outputs."""
    ends = (*session.get_inputs(), *session.get_outputs())
    return BfloatSession(session) if any(value.type == _KIND for value in ends) else session


@functools.cache
def known_operator_sets() -> Mapping[str, int]:
    """Newest version of ONNX's own operators (domain "") and of those of machine learning that this onnxruntime loads."""
    return {domain: _newest(domain, oldest) for domain, oldest in _OLDEST.items()}


def _newest(domain: str, oldest: int) -> int:
    found = oldest
    while found < _MOST and _loads(domain, found + 1):
        found += 1
    return found


def _loads(domain: str, version: int) -> bool:
    sets = {_ONNX: _OLDEST[_ONNX], domain: version}
    content = _VERSION_8 + _IDENTITY + b"".join(_stated(name, number) for name, number in sets.items())
    options = inference_runtime().SessionOptions()
    options.log_severity_level = _FATAL
    try:
        inference_runtime().InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception:  # onnxruntime's exceptions share no base class of its own
        return False
    return True


def _stated(domain: str, version: int) -> bytes:
    name = domain.encode()
    entry = b"\x0a" + bytes([len(name)]) + name + b"\x10" + bytes([version])
    return b"\x42" + bytes([len(entry)]) + entry
