"""Envelope of a signed message as it travels, told apart from a plain one.

Owns: its form. Its rule: whoever only asks whether something is signed needs no cryptography. Not here: signing and judging
(`trust/signing.py`).
"""

from __future__ import annotations

from typing import Annotated

import msgspec

__all__ = ["Envelope", "in_envelope"]

_HIGHEST_COUNTER = (1 << 63) - 1


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """A signed message.

    Attributes:
        message: JSON text, signed byte for byte.
        counter: Of this signer, higher than any before: microseconds since the epoch unless the clock went back.
        certificate: The signer's, DER in base64.
        signature: In base64.
    """

    message: msgspec.Raw
    counter: Annotated[int, msgspec.Meta(ge=0, le=_HIGHEST_COUNTER)]
    certificate: str
    signature: str


def in_envelope(payload: bytes) -> bytes | None:
    """The message in an envelope, whoever signed it; None where there is no envelope."""
    try:
        return bytes(msgspec.json.decode(payload, type=Envelope).message)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
