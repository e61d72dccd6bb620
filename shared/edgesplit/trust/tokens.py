"""Tokens of clients: who shows one, what it allows, and how often.

Owns: the grants by the digest of their token, and a token bucket for each. Its rule: pure, times are handed in; a token itself is kept
nowhere, and what is no longer granted is refused at the next request. Not here: how grants come here (`control/trust_messages.py`),
who else may ask (`trust/access.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from edgesplit.errors import NotTrusted, Overloaded
from edgesplit.trust.enrolment import token_digest

__all__ = ["ModelNotGranted", "RateExhausted", "TokenBook", "TokenGrant"]

BURST_S = 10.0
"""A client may ask at once what its rate gives it in this time. [s]"""


class ModelNotGranted(NotTrusted):
    """The token is good, and for other models."""


class RateExhausted(Overloaded):
    """The token's rate allows no more requests just now.

    Attributes:
        retry_after_s: Until the next one. [s]
    """

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True)
class TokenGrant:
    """What one token allows.

    Attributes:
        name: Whose, for people.
        digest: SHA-256 of the token, in hexadecimal.
        expires_s: Since the epoch. [s]
        models: Names of models; empty: all.
        rate_hz: Requests a second at this node, over `BURST_S`; None: as many as the node takes. [1/s]
    """

    name: str
    digest: str
    expires_s: float
    models: tuple[str, ...] = ()
    rate_hz: float | None = None


@dataclass
class _Bucket:
    """Requests that a token may make now, and when that was so. [1, s]"""

    left: float
    at_s: float


class TokenBook:
    """Grants of all tokens."""

    def __init__(self) -> None:
        self._grants: dict[str, TokenGrant] = {}
        self._buckets: dict[str, _Bucket] = {}

    def replace(self, grants: Iterable[TokenGrant]) -> None:
        """Know these and no others; what a token has used of its rate stays used."""
        self._grants = {grant.digest: grant for grant in grants}
        self._buckets = {digest: bucket for digest, bucket in self._buckets.items() if digest in self._grants}

    def grant_of(self, token: str, *, now_s: float) -> TokenGrant:
        """What a token allows.

        Args:
            token: As its holder shows it.
            now_s: Since the epoch. [s]

        Raises:
            NotTrusted: Nobody gave it out, or it has expired.
        """
        grant = self._grants.get(token_digest(token))
        if grant is None:
            raise NotTrusted("this token is not known here: it is of another fleet, was withdrawn, or is mistyped")
        _check_time(grant, now_s)
        return grant

    def check_model(self, grant: TokenGrant, model: str, *, now_s: float) -> TokenGrant:
        """The grant as it is now, if it is for this model.

        Raises:
            NotTrusted: It was withdrawn or has expired.
            ModelNotGranted: It is for others.
        """
        current = self._grants.get(grant.digest)
        if current is None:
            raise NotTrusted(f"the token {grant.name!r} was withdrawn: ask for another")
        _check_time(current, now_s)
        if current.models and model not in current.models:
            raise ModelNotGranted(f"the token {grant.name!r} is not for model {model[:100]!r}")
        return current

    def spend(self, grant: TokenGrant, model: str, *, now_s: float) -> None:
        """Count a request of a model.

        Raises:
            NotTrusted: As `check_model`.
            RateExhausted: Too many came lately.
        """
        rate_hz = self.check_model(grant, model, now_s=now_s).rate_hz
        if rate_hz is None:
            return
        most = max(rate_hz * BURST_S, 1.0)
        bucket = self._buckets.setdefault(grant.digest, _Bucket(most, now_s))
        # A clock that was set back gives nothing, and takes nothing.
        bucket.left = min(bucket.left + max(now_s - bucket.at_s, 0.0) * rate_hz, most)
        bucket.at_s = now_s
        if bucket.left < 1.0:
            text = f"the token's rate of {rate_hz:g} requests a second is used up: send fewer, or ask for a higher one"
            raise RateExhausted(text, (1.0 - bucket.left) / rate_hz if rate_hz > 0 else BURST_S)
        bucket.left -= 1.0


def _check_time(grant: TokenGrant, now_s: float) -> None:
    if now_s >= grant.expires_s:
        raise NotTrusted(
            f"the token {grant.name!r} has expired: ask for another, or compare the clock of the node with the controller's"
        )
