"""Fuzzed payloads on signed topics: whatever arrives, only what the controller signed says anything.

Owns: the target `signed`. Its rule: that of `tests/fuzz/targets.py`. Not here: the other targets.
"""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from edgesplit.mqtt.signed.message_security import MessageSecurity
from edgesplit.mqtt.subscriptions import Subscription
from edgesplit.mqtt.topic import Topic
from edgesplit.topic_table import signed_rows
from tests.trust.signers import MadeFleet

__all__ = ["SignedPayloads"]

MESSAGE = b'{"certificates": [], "tokens": []}'
_ROWS = tuple(row for row in signed_rows() if row.signer == "controller")


class SignedPayloads:
    """Payloads on topics that the controller signs; the first two bytes say which topic and what the others are.

    Either the payload as it is, or a rightly signed message, or changes to one that is rightly signed: of its bytes, or of its
    certificate's.
    """

    def __init__(self) -> None:
        fleet = MadeFleet()
        self._controller: MessageSecurity = fleet.security("controller")
        self._reader = fleet.credentials("node")
        fleet.close()
        self._sealed = {row: self._controller.sealed(_topic(row), MESSAGE) for row in _ROWS}

    def run(self, data: bytes) -> None:
        """See `Target`."""
        row, form, rest = _ROWS[data[0] % len(_ROWS) if data else 0], data[1] % 4 if len(data) > 1 else 0, data[2:]
        topic, sealed = _topic(row), self._sealed[row]
        payload = rest
        if form == 1:
            payload = self._controller.sealed(topic, rest or b"null")
        elif form == 2:
            payload = _patched(sealed, rest)
        elif form == 3:
            parts = msgspec.json.decode(sealed)
            certificate = _patched(base64.b64decode(parts["certificate"]), rest)
            payload = msgspec.json.encode({**parts, "certificate": base64.b64encode(certificate).decode()})
        said = MessageSecurity(self._reader, _ROWS).opened(topic, payload)
        if said is None:
            return
        wanted = {b"": b"", b"null": b""}.get(rest, rest) if form == 1 else MESSAGE
        if said.message != wanted:
            raise AssertionError(f"{said.message[:100]!r} was believed, which nobody signed")
        Subscription(topic, msgspec.json.Decoder(row.payload), row.limit_bytes, lambda *_told: None).deliver(
            topic, said
        )

    def close(self) -> None:
        """See `Target`."""


def _topic(row: Topic[Any]) -> str:
    return row.of(*("n" for _ in row.placeholders))


def _patched(whole: bytes, patches: bytes) -> bytes:
    """Bytes with some replaced: each three bytes of `patches` are a place and what stands there then."""
    changed = bytearray(whole)
    for at in range(0, len(patches) - 2, 3):
        changed[int.from_bytes(patches[at : at + 2], "little") % len(changed)] = patches[at + 2]
    return bytes(changed)
