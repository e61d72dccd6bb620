"""Renewal of a running program's certificate: asked for in time, written, and taken over by who shows it; no connection is touched.

Owns: the rhythm, the files, and what is said of a certificate that ends. Its rule: certificates that others put into the folder are taken
over likewise, and the key stays, so that one file is replaced whole. Not here: the exchange (`trust/enrolment_client.py`), the schedule
(`trust/renewal.py`), who shows the certificate (`trust/tls.py`, `trust/signing.py`): they are told.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import structlog

from edgesplit.errors import ControllerUnreachable, EdgesplitError
from edgesplit.retrying import Retry, RetryRule, retry_after
from edgesplit.trust.credentials import Credentials
from edgesplit.trust.enrolment import RenewAnswer
from edgesplit.trust.enrolment_client import ControllerPlace, renewed
from edgesplit.trust.files import TrustFiles, write_private
from edgesplit.trust.renewal import Lifetime, RenewalWarnings

__all__ = ["CertificateRenewal", "Tell"]

LOOK_EVERY_S = 15.0
"""At the clock, which may be set, and at the file, which others may replace. [s]"""
RULE = RetryRule(first_s=LOOK_EVERY_S, most_s=900.0)

Ask = Callable[[ControllerPlace, TrustFiles], RenewAnswer]
Tell = Callable[[str, str], None]
"""Told the kind of an event, and its sentence."""


class CertificateRenewal:
    """Keeps the certificate of one program valid.

    Args:
        files: Of its identity.
        controller: Base URL of the controller's HTTPS as known now; empty while it is not.
        taken: Those who show the certificate, called with the next one once its file is written.
        tell: Where people are told.
        asks: Whether to ask the controller; else the file is only watched.
        ask: The exchange; called in a thread.
        clock: [s since the epoch]

    Raises:
        InvalidConfiguration: The files hold no identity.
    """

    def __init__(
        self,
        files: TrustFiles,
        controller: Callable[[], str],
        *,
        tell: Tell,
        taken: tuple[Callable[[Credentials], None], ...] = (),
        asks: bool = True,
        ask: Ask = renewed,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._files = files
        self._controller = controller
        self._tell = tell
        self._asks = asks
        self._ask = ask
        self._clock = clock
        self.taken = list(taken)
        self._log = structlog.get_logger(part="trust")
        self._warnings = RenewalWarnings()
        self._retry: Retry | None = None
        self._draw = random.random()  # noqa: S311  no secret
        self.credentials = Credentials.load(files)
        self._seen = self._stamp()

    @property
    def expires_s(self) -> float:
        """When the certificate ends. [s since the epoch]"""
        return self.credentials.facts.expires_s

    async def keep(self) -> None:
        """Look again and again, for ever."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Take over what others wrote, renew what is due, warn of what ends."""
        now_s = self._clock()
        try:
            await self._read_again()
        except (EdgesplitError, OSError) as error:
            self._warn(f"what lies in its folder cannot be used ({error})", now_s)
            return
        if now_s < self._lifetime.due_s(self._draw) or (self._retry is not None and now_s < self._retry.next_at_s):
            return
        reason = "somebody else renews it here ([security] renew is false), and has not"
        if self._asks:
            try:
                await self._renew()
            except (EdgesplitError, OSError) as error:
                reason = str(error)
            else:
                return
        self._retry = retry_after(self._retry, now_s, random.random(), RULE)  # noqa: S311  no secret
        self._warn(reason, now_s)

    @property
    def _lifetime(self) -> Lifetime:
        return Lifetime(self.credentials.certificate.not_valid_before_utc.timestamp(), self.expires_s)

    def _stamp(self) -> tuple[int, int]:
        """Another one whenever the certificate's file was replaced."""
        found = self._files.certificate.stat()
        return found.st_ino, found.st_mtime_ns

    async def _renew(self) -> None:
        url = self._controller()
        if not url:
            raise ControllerUnreachable("the controller has not said yet where it is")
        parts = urlsplit(url)
        if parts.scheme != "https":
            raise ControllerUnreachable(f"the controller is at {url}, which is not secured")
        answer = await asyncio.to_thread(self._ask, ControllerPlace.parse(f"https://{parts.netloc}"), self._files)
        # The authorities first: a certificate that nobody here trusts yet would be of no use.
        if answer.authority.encode() != self._files.authority.read_bytes():
            write_private(self._files.authority, answer.authority.encode())
        write_private(self._files.certificate, answer.certificate.encode())
        self._take(Credentials.load(self._files))

    async def _read_again(self) -> None:
        """Take over a certificate that somebody else put into the folder."""
        if self._stamp() == self._seen:
            return
        found = await asyncio.to_thread(Credentials.load, self._files)
        self._seen = self._stamp()
        if found.certificate != self.credentials.certificate:
            self._take(found)

    def _take(self, found: Credentials) -> None:
        for take in self.taken:
            take(found)
        self.credentials, self._seen = found, self._stamp()
        self._retry = None
        self._warnings.renewed()
        self._draw = random.random()  # noqa: S311  no secret
        left = _long(self.expires_s - self._clock())
        self._tell("certificate-renewed", f"the certificate of {found.subject} was renewed: it is valid for {left}")

    def _warn(self, reason: str, now_s: float) -> None:
        left_s = self.expires_s - now_s
        attempts = 0 if self._retry is None else self._retry.attempts
        self._log.info("certificate-renewal-failed", reason=reason, attempts=attempts)
        if not self._warnings.is_due(left_s, now_s):
            return
        whose = f"the certificate of {self.credentials.subject}"
        if left_s > 0:
            text = f"{whose} ends in {_long(left_s)} and cannot be renewed: {reason}"
            self._tell("certificate-not-renewed", text)
        else:
            text = (
                f"{whose} has expired and cannot be renewed: {reason}; connections that are open stay, others refuse it: compare the "
                "clock here with the clock there, or leave and join again"
            )
            self._tell("certificate-expired", text)


def _long(seconds: float) -> str:
    """A time of minutes to months, for a sentence."""
    units = ((86_400.0, "days"), (3600.0, "hours"), (60.0, "minutes"))
    size, unit = next((pair for pair in units if seconds >= 2 * pair[0]), (1.0, "s"))
    return f"{seconds / size:.0f} {unit}"
