"""The protocol's names of the dtypes that may travel.

Owns: the two-way table between protocol and numpy. Its rule: what is not in it is refused by name. Not here: tensors.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgesplit.errors import InvalidTensor

__all__ = ["DATATYPES", "datatype_of", "dtype_of"]

DATATYPES: Mapping[str, str] = {
    "BOOL": "bool",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
    "BF16": "bfloat16",
    "BYTES": "str",
}
"""Protocol name to numpy name."""
_NAMES = {dtype: datatype for datatype, dtype in DATATYPES.items()}


def dtype_of(tensor: str, datatype: str) -> str:
    """Numpy name of a protocol datatype.

    Args:
        tensor: Its name, for the message.
        datatype: As the client wrote it.

    Raises:
        InvalidTensor: It does not exist.
    """
    try:
        return DATATYPES[datatype]
    except KeyError:
        known = ", ".join(DATATYPES)
        raise InvalidTensor(f"tensor {tensor!r} has datatype {datatype!r}, which cannot be sent: use {known}") from None


def datatype_of(dtype: str) -> str:
    """Protocol name of a numpy dtype that may travel."""
    return _NAMES[dtype]
