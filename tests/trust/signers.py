"""Programs of a made fleet for tests of signed topics: who they are, and what somebody who is no such one might send."""

from __future__ import annotations

import itertools
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import msgspec

from edgesplit.mqtt.signed.counter_memory import CounterMemory
from edgesplit.mqtt.signed.message_security import MessageSecurity
from edgesplit.topic_table import signed_rows
from edgesplit.trust.credentials import Credentials
from edgesplit.trust.files import TrustFiles
from edgesplit.trust.signing import Signer
from edgesplit.trust.subjects import Role, Subject
from tests.trust.authorities import DAY, MadeAuthority

__all__ = ["NAMES", "MadeFleet", "forgeries"]

NAMES: dict[Role, str] = {"controller": "one", "operator": "anna", "node": "device", "client": "till", "broker": "b"}


class MadeFleet:
    """An authority and identities that it signed, in folders that go with the object."""

    def __init__(self) -> None:
        self.authority = MadeAuthority()
        self._kept = tempfile.TemporaryDirectory(prefix="edgesplit-fleet-")
        self._numbers = itertools.count()

    def files(
        self,
        role: Role,
        name: str = "",
        *,
        begins: timedelta = -DAY,
        ends: timedelta = 30 * DAY,
        addresses: tuple[str, ...] = (),
    ) -> TrustFiles:
        """A new identity."""
        folder = Path(self._kept.name) / str(next(self._numbers))
        subject = Subject(role, name or NAMES[role])
        return self.authority.files(
            folder, uri=subject.uri, common_name=subject.common_name, begins=begins, ends=ends, addresses=addresses
        )

    def credentials(
        self, role: Role, name: str = "", *, begins: timedelta = -DAY, ends: timedelta = 30 * DAY
    ) -> Credentials:
        """Who a new identity is."""
        return Credentials.load(self.files(role, name, begins=begins, ends=ends))

    def security(self, role: Role, name: str = "", counters: Path | None = None) -> MessageSecurity:
        """The signatures of a new program."""
        return MessageSecurity(self.credentials(role, name), signed_rows(), counters=CounterMemory(counters))

    def close(self) -> None:
        """Remove the files."""
        self._kept.cleanup()


def forgeries(fleet: MadeFleet, signer: Role, topic: str, message: bytes, limit_bytes: int) -> dict[str, bytes]:
    """What somebody might send who may not sign a message on a topic, by what is wrong with it."""
    now_s = time.time()
    others: dict[Role, Role] = {"controller": "operator", "operator": "controller"}

    def signed(credentials: Credentials, on: str = topic, text: bytes = message) -> bytes:
        return Signer(credentials).sign(on, text, now_s=now_s)

    right = signed(fleet.credentials(signer))
    parts = msgspec.json.decode(right)
    stranger = MadeFleet()
    foreign = stranger.credentials(signer)
    stranger.close()
    return {
        "plain": message,
        "no JSON": b"\xff\x00{",
        "nested": b'{"message": ' + b"[" * 50_000,
        "other topic's": signed(fleet.credentials(signer), f"{topic}.other"),
        "a node's": signed(fleet.credentials("node")),
        "a client's": signed(fleet.credentials("client")),
        "another role's": signed(fleet.credentials(others[signer])),
        "another fleet's": signed(foreign),
        "expired": signed(fleet.credentials(signer, begins=-2 * DAY, ends=-DAY)),
        "not valid yet": signed(fleet.credentials(signer, begins=DAY)),
        "highest counter": msgspec.json.encode({**parts, "counter": (1 << 63) - 1}),
        "beyond counting": right.replace(str(parts["counter"]).encode(), b"9" * 6000),
        "negative counter": msgspec.json.encode({**parts, "counter": -1}),
        "changed": msgspec.json.encode({**parts, "message": {"x": 1}}),
        "taken back by nobody": msgspec.json.encode({**parts, "message": None}),
        "no certificate": msgspec.json.encode({**parts, "certificate": "", "signature": ""}),
        "oversized": signed(fleet.credentials(signer), text=b'"' + b"x" * (limit_bytes + (9 << 10)) + b'"'),
    }
