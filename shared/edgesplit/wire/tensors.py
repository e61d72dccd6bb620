"""Tensors on the wire: dtype names, specifications, checks of what a caller hands in.

Owns: the allow-list of dtypes that may travel, how numpy holds each, and the comparison of arrays with specifications. Its
rule: what passes here is C-contiguous, native-endian and of an allowed dtype. Not here: wire codecs (`wire/codecs`) and
frames (`wire/frames.py`).

numpy has no bfloat16. In this process it is a structure of one uint16 of that name, which numpy saves and compares like any
other type; arrays of the package ml_dtypes are taken, and `given_out` makes such of them where that package is installed.
Texts are arrays of Python's str.

Names and sizes are known without numpy, which an agent that holds no model does not load.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from edgesplit.errors import InvalidTensor
from edgesplit.late_libraries import import_late, np
from edgesplit.wire.tensor_spec import TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "DTYPES",
    "FLOAT_DTYPES",
    "TEXT",
    "TEXT_BYTES",
    "TRAVELLING",
    "Array",
    "as_bfloat16",
    "as_bytes",
    "check_inputs",
    "contiguous",
    "drawn",
    "dtype_name",
    "given_out",
    "item_bytes",
    "tensor_bytes",
    "widened",
    "zeros_of",
]

Array: TypeAlias = "NDArray[Any]"

FLOAT_DTYPES = frozenset({"bfloat16", "float16", "float32", "float64"})
_ITEM_BYTES: Mapping[str, int] = {
    **{"bfloat16": 2, "float16": 2, "float32": 4, "float64": 8},
    **{"int8": 1, "int16": 2, "int32": 4, "int64": 8, "uint8": 1, "uint16": 2, "uint32": 4, "uint64": 8, "bool": 1},
}
"""Of an element of numbers, by the name of its dtype on the wire. [B]"""


class _Dtypes(Mapping[str, "np.dtype[Any]"]):
    """Made when the first is asked for; that of bfloat16 holds the upper half of a float32."""

    _made: Mapping[str, np.dtype[Any]] | None = None

    def __getitem__(self, name: str) -> np.dtype[Any]:
        if self._made is None:
            plain = {name: np.dtype(name) for name in _ITEM_BYTES if name != "bfloat16"}
            self._made = {"bfloat16": np.dtype([("bfloat16", "<u2")]), **plain}
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in _ITEM_BYTES

    def __iter__(self) -> Iterator[str]:
        return iter(_ITEM_BYTES)

    def __len__(self) -> int:
        return len(_ITEM_BYTES)


DTYPES: Mapping[str, np.dtype[Any]] = _Dtypes()
"""Numpy dtypes of numbers by the name they have on the wire."""
_SAVED = "V2"
"""What numpy.savez makes of an array of ml_dtypes.bfloat16: its bits, without its name."""
TEXT = "str"
"""Name on the wire of texts, whose elements have no fixed size."""
TEXT_BYTES = 64
"""What an element of a tensor of texts is taken to need in memory: an object of Python's, and a word. [B]"""
TRAVELLING = frozenset({*_ITEM_BYTES, TEXT})
"""All that may travel; everything else is refused."""
_TEXT_KINDS = "OUT"
"""Kinds of numpy's dtypes that hold texts: objects, texts of one width, texts of any width."""


@functools.cache
def _names() -> Mapping[np.dtype[Any], str]:
    """Names by dtype: numpy spells a dtype's name anew each time it is asked; hot paths look it up."""
    return {dtype: name for name, dtype in DTYPES.items()}


@functools.cache
def _foreign() -> Any:
    """bfloat16 as ml_dtypes has it; None where that is not installed."""
    try:
        # No dependency of the client library or of an agent.
        bfloat16: Any = import_late("ml_dtypes").bfloat16
    except ImportError:
        return None
    return bfloat16


def contiguous(name: str, array: Array) -> Array:
    """Return `array` C-contiguous and native-endian, copied only where it is not; texts as objects.

    Args:
        name: Tensor's name, for the message.
        array: Any numpy array or what numpy makes one of.

    Raises:
        InvalidTensor: Its dtype cannot travel (objects that are no texts, complex numbers).
    """
    array = np.asarray(array)
    if array.dtype in _names() and array.flags.c_contiguous:
        return array
    if array.dtype.kind in _TEXT_KINDS:
        return _texts(name, array)
    if array.dtype == _SAVED or array.dtype.name == "bfloat16":
        return np.asarray(array, order="C").view(DTYPES["bfloat16"])
    known = _names().get(array.dtype) or array.dtype.name
    if known not in DTYPES:
        raise InvalidTensor(f"tensor {name!r} has dtype {known}, which cannot be sent: use {_known()}")
    # ascontiguousarray would turn a scalar into a vector.
    return np.asarray(array, dtype=DTYPES[known], order="C")


def _texts(name: str, array: Array) -> Array:
    """Texts as an array of objects."""
    texts = np.asarray(array, dtype=object, order="C")
    for element in texts.reshape(-1):
        if not isinstance(element, str):
            kind = type(element).__name__
            raise InvalidTensor(f"tensor {name!r} holds an object that is {kind} and no text: use {_known()}")
    return texts


def dtype_name(array: Array) -> str:
    """The name of an array's dtype, as on the wire."""
    return _names().get(array.dtype) or (TEXT if array.dtype.kind in _TEXT_KINDS else array.dtype.name)


def item_bytes(dtype: str) -> int:
    """What an element takes in memory. [B]"""
    return TEXT_BYTES if dtype == TEXT else _ITEM_BYTES[dtype]


def tensor_bytes(spec: TensorSpec) -> int:
    """What a tensor takes in memory, at the planning shape where sizes are open. [B]"""
    return math.prod(spec.sizes) * item_bytes(spec.dtype)


def zeros_of(dtype: str, shape: Sequence[int]) -> Array:
    """A tensor of zeros, or of empty texts."""
    if dtype == TEXT:
        return np.full(tuple(shape), "", dtype=object)
    return np.zeros(tuple(shape), DTYPES[dtype])


def drawn(dtype: str, shape: Sequence[int], generator: np.random.Generator) -> Array:
    """A tensor of uniform noise in [0, 1); of zeros where no float is asked for, of empty texts."""
    if dtype not in FLOAT_DTYPES:
        return zeros_of(dtype, shape)
    noise = np.asarray(generator.random(tuple(shape)))
    return as_bfloat16(noise) if dtype == "bfloat16" else np.asarray(noise, dtype=DTYPES[dtype])


def widened(array: Array) -> Array:
    """bfloat16 as float32, exactly; any other array as it is."""
    if array.dtype != DTYPES["bfloat16"]:
        return array
    return np.asarray(np.left_shift(array["bfloat16"], 16, dtype=np.uint32)).view(np.float32)


def as_bfloat16(array: Array) -> Array:
    """Floats rounded to the nearest bfloat16, ties to even."""
    bits = np.asarray(array, dtype=np.float32, order="C").view(np.uint32)
    with np.errstate(over="ignore"):
        rounded = (bits + (0x7FFF + (bits >> 16 & 1))) >> 16
    # Rounding would carry some of what is no number into infinity.
    quiet = np.where((bits & 0x7FFFFFFF) > 0x7F800000, (bits >> 16) | 0x40, rounded)
    return np.asarray(quiet, dtype=np.uint16, order="C").view(DTYPES["bfloat16"])


def given_out(array: Array) -> Array:
    """An array as a program gets it: bfloat16 as ml_dtypes has it, where that is installed."""
    return array.view(_foreign()) if array.dtype == DTYPES["bfloat16"] and _foreign() is not None else array


def as_bytes(array: Array) -> memoryview:
    """The memory of a C-contiguous array of numbers, without a copy."""
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
    return ", ".join(sorted(TRAVELLING))
