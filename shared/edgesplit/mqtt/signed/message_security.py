"""Signed topics of a fleet with an authority: this program's messages signed, others' believed only if rightly signed.

Owns: what is signed by whom (the rows say it), opening and refusing, and what taking back means there. Its rule: on a topic that has a
signer nothing unsigned, changed, old, or another's counts; that the broker forgot a message counts for nothing either, for the
broker is not who decides: what is taken back is a signed `null`, which stays in its place. Not here: envelopes and keys
(`edgesplit.trust`), which topics (`topic_table.py`), the connection (`mqtt/bus.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any

import msgspec

from edgesplit.errors import NotTrusted
from edgesplit.mqtt.name_registration import Presence
from edgesplit.mqtt.signed.counter_memory import CounterMemory
from edgesplit.mqtt.signed.counter_reserve import CounterReserve
from edgesplit.mqtt.signed.refusals import Refusal, Refusals
from edgesplit.mqtt.signed.request_freshness import RequestFreshness
from edgesplit.mqtt.signed.sealing import Said
from edgesplit.mqtt.topic import Topic
from edgesplit.mqtt.topic_filters import matches
from edgesplit.trust.credentials import Credentials
from edgesplit.trust.signing import ENVELOPE_BYTES, SignatureCheck, Signer, in_envelope
from edgesplit.trust.subjects import Role

__all__ = ["MessageSecurity"]

SAVE_AFTER_S = 0.2
"""Counters that were heard are written together, so long after the first of them. [s]"""
_TAKEN_BACK = b"null"


class MessageSecurity:
    """One program's signature, and its judgement of others'.

    Args:
        credentials: Who this program is.
        rows: Topics that have a signer.
        counters: Heard on them.
        reserve: Of this program's own counters, where it has to outlive restarts.
        clock: Since the epoch. [s]
        monotonic: For what was told lately. [s]
        on_refused: Told of every message that is not believed.
    """

    def __init__(
        self,
        credentials: Credentials,
        rows: Iterable[Topic[Any]],
        *,
        counters: CounterMemory | None = None,
        reserve: CounterReserve | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        on_refused: Callable[[Refusal], None] | None = None,
    ) -> None:
        self.subject = credentials.subject
        self.on_refused = on_refused
        self._signers: dict[str, tuple[Topic[Any], Role]] = {
            row.filter(): (row, row.signer) for row in rows if row.signer is not None
        }
        self._reserve = reserve or CounterReserve(0, lambda _bound: None)
        self._signer = Signer(credentials, self._reserve.reserved)
        self._check = SignatureCheck(credentials)
        self._counters = counters or CounterMemory()
        self.damage = self._counters.damage
        """What was wrong with what was remembered of counters; empty where nothing was."""
        self._clock, self._monotonic = clock, monotonic
        self._requests = RequestFreshness(clock())
        self._refusals = Refusals()
        self._due: asyncio.TimerHandle | None = None
        self._writing: asyncio.Future[bool] | None = None

    @property
    def refused(self) -> dict[str, int]:
        """How many messages were not believed, by the pattern of their topic; goes on being changed."""
        return self._refusals.counts

    def take(self, credentials: Credentials) -> None:
        """Sign with a renewed certificate from now on."""
        self._signer.take(credentials)

    def revoke(self, serials: Collection[str]) -> None:
        """Believe these certificates no more, and all others."""
        self._check.revoked = frozenset(serials)

    # --- what this program says ------------------------------------------------------------------------------------

    def sealed(self, topic: str, message: bytes) -> bytes:
        """See `Sealing`."""
        return self._signed(topic, message) if self._signs(topic) else message

    def removal(self, topic: str) -> bytes:
        """See `Sealing`."""
        return self._signed(topic, _TAKEN_BACK) if self._signs(topic) else b""

    def left_over(self, topic: str, payload: bytes) -> bytes:
        """See `Sealing`.

        What readers would not believe may just go. What they would, an earlier run said: it is taken back, and what that run took
        back stays so.
        """
        if not self._signs(topic):
            return b""
        try:
            found = self._check.opened(topic, payload, role=self.subject.role, now_s=self._clock())
        except NotTrusted:
            return b""
        return payload if found.message == _TAKEN_BACK else self.removal(topic)

    def renewed(self, topic: str, payload: bytes) -> bytes:
        """See `Sealing`."""
        message = in_envelope(payload) if self._signs(topic) else None
        return payload if message is None else self._signed(topic, message)

    def _signs(self, topic: str) -> bool:
        found = self._signer_of(topic)
        return found is not None and found[1] == self.subject.role

    def _signed(self, topic: str, message: bytes) -> bytes:
        now_s = self._clock()
        self._reserve.cover(max(self._signer.counter + 1, int(now_s * 1e6)))
        return self._signer.sign(topic, message, now_s=now_s)

    # --- what others say -------------------------------------------------------------------------------------------

    def opened(self, topic: str, payload: bytes) -> Said | None:
        """See `Sealing`."""
        found = self._signer_of(topic)
        if found is None:
            return Said(payload)
        if not payload:
            return None
        row, signer = found
        try:
            return self._believed(row, signer, topic, payload)
        except NotTrusted as error:
            self._refuse(row, topic, payload, error)
            return None

    def _refuse(self, row: Topic[Any], topic: str, payload: bytes, error: NotTrusted) -> None:
        refusal = self._refusals.refuse(row.pattern, topic, str(error), payload, self._monotonic())
        if self.on_refused is not None:
            self.on_refused(refusal)

    def _believed(self, row: Topic[Any], signer: Role, topic: str, payload: bytes) -> Said:
        most = row.limit_bytes + ENVELOPE_BYTES
        if len(payload) > most:
            raise NotTrusted(f"it is larger than what is read there, {most} bytes with its signature")
        now_s = self._clock()
        found = self._check.opened(topic, payload, role=signer, now_s=now_s)
        if signer == "operator":
            self._requests.take(found.signer, found.counter, now_s)
        elif not (row.has_will and _says_offline(found.message)):
            # A last will was signed when its connection began, so that it is older than all that was said over it.
            self._counters.take(topic, found.counter, payload)
            self._save_soon()
        return Said(b"" if found.message == _TAKEN_BACK else found.message, found.signer)

    def recalled(self, topic: str, payload: bytes, heard_s: float) -> Said | None:
        """See `Sealing`.

        Judged by the time it came: a clock that lost its battery ends nothing, nor does a certificate that ended since, as neither would
        end what a program serves that went on running. A revocation does. An older counter than was heard counts here, for this is no
        broker's memory but the own: the power went between two writes, and the controller is about to say what is newer.
        """
        found = self._signer_of(topic)
        if found is None:
            return Said(payload)
        row, signer = found
        try:
            opened = self._check.opened(topic, payload, role=signer, now_s=heard_s)
        except NotTrusted as error:
            self._refuse(row, topic, payload, error)
            return None
        with contextlib.suppress(NotTrusted):
            self._counters.take(topic, opened.counter, payload)
        return Said(b"" if opened.message == _TAKEN_BACK else opened.message, opened.signer)

    async def close(self) -> None:
        """See `Sealing`."""
        if self._due is not None:
            self._due.cancel()
        if self._writing is not None:
            await self._writing
        await asyncio.to_thread(self._counters.save)

    def _save_soon(self) -> None:
        if self._due is None and self._counters.changed:
            self._due = asyncio.get_running_loop().call_later(SAVE_AFTER_S, self._save)

    def _save(self) -> None:
        self._writing = asyncio.get_running_loop().run_in_executor(None, self._counters.save)
        self._writing.add_done_callback(self._saved)

    def _saved(self, written: asyncio.Future[bool]) -> None:
        self._due = self._writing = None
        if not written.cancelled() and written.result():
            self._save_soon()  # what was heard meanwhile

    def _signer_of(self, topic: str) -> tuple[Topic[Any], Role] | None:
        return next((found for pattern, found in self._signers.items() if matches(pattern, topic)), None)


def _says_offline(message: bytes) -> bool:
    try:
        return not msgspec.json.decode(message, type=Presence).online
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
