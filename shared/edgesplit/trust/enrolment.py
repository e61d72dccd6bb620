"""Enrolment: how a program asks a fleet's authority for its first certificate and for the next ones, and the join token.

Owns: the JSON messages of `POST /trust/join` and `POST /trust/renew`, and the text form of a join token. Its rule: a token says by
which authority it was given, so that whoever holds it knows the fleet's authority before it trusts anybody. Not here: the routes
(`controller/…/artifacts`), issuing (`controller/…/trust`), certificate requests (`trust/credentials.py`).

    esj_ + base64url(SHA-256 of the authority's certificate in DER, 32 bytes, then 16 random bytes)
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass
from typing import Literal, Self

import msgspec

from edgesplit.errors import InvalidInput

__all__ = [
    "AUTHORITY_PATH",
    "JOIN_PATH",
    "RENEW_PATH",
    "EnrolmentError",
    "EnrolmentFailure",
    "JoinAnswer",
    "JoinRequest",
    "JoinToken",
    "JoiningKind",
    "RenewAnswer",
    "RenewRequest",
    "token_digest",
]

AUTHORITY_PATH, JOIN_PATH, RENEW_PATH = "/trust/authority", "/trust/join", "/trust/renew"
"""Routes of the controller's HTTPS: the authority's certificate in PEM form, and the two questions below."""

JoiningKind = Literal["node", "operator"]
"""Roles that are given by a token: the controller and the broker are made with the authority, clients have tokens of their own."""

_PREFIX = "esj_"
_AUTHORITY_BYTES, _SECRET_BYTES = 32, 16
_LENGTH = len(_PREFIX) + (_AUTHORITY_BYTES + _SECRET_BYTES) // 3 * 4
_TOKEN = re.compile(f"{_PREFIX}[A-Za-z0-9_-]{{{_LENGTH - len(_PREFIX)}}}")


@dataclass(frozen=True)
class JoinToken:
    """What lets one program join, once.

    Attributes:
        authority: SHA-256 of the authority's certificate, in hexadecimal (`trust/credentials.py`: `authority_digest`).
        secret: Known to whoever may join, and to nobody else: the authority keeps the token's digest.
    """

    authority: str
    secret: bytes

    @classmethod
    def new(cls, authority: str) -> Self:
        """A token of an authority, given its digest in hexadecimal."""
        return cls(authority, secrets.token_bytes(_SECRET_BYTES))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a token.

        Raises:
            InvalidInput: It is none; the sentence does not repeat it.
        """
        if _TOKEN.fullmatch(text) is None:
            raise InvalidInput(
                f"this is no join token: one begins with {_PREFIX} and has {_LENGTH} characters, as splitctl node add "
                "prints it"
            )
        content = base64.urlsafe_b64decode(text.removeprefix(_PREFIX))
        return cls(content[:_AUTHORITY_BYTES].hex(), content[_AUTHORITY_BYTES:])

    def __str__(self) -> str:
        """As it is handed over; a secret, and no part of a message to anybody else."""
        content = bytes.fromhex(self.authority) + self.secret
        return _PREFIX + base64.urlsafe_b64encode(content).decode()

    def __repr__(self) -> str:
        """Without the secret: representations end in logs."""
        return f"JoinToken(authority={self.authority!r})"


def token_digest(text: str) -> str:
    """SHA-256 of a token of any kind, in hexadecimal: what is kept of it. Tokens are drawn at random, so that a plain hash hides them."""
    return hashlib.sha256(text.encode()).hexdigest()


class JoinRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /trust/join`.

    Attributes:
        token: As it was handed over.
        kind: What the program wants to be; the token says whether it may.
        name: Of the program; empty: the token's, which whoever joins need not know.
        request: PKCS#10 certificate request in PEM form, of `kind:name`; of any name where `name` is empty.
        addresses: IP addresses at which others reach it, for tools that compare a host with a certificate.
    """

    token: str
    kind: JoiningKind
    name: str
    request: str
    addresses: tuple[str, ...] = ()


class JoinAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a program has once it joined.

    Attributes:
        certificate: In PEM form, and those between it and the authority, if any.
        authority: Certificates of those who may have issued others', in PEM form.
        broker: URL of the broker, as in `[broker] url`.
        name: Of the program.
    """

    certificate: str
    authority: str
    broker: str
    name: str


class RenewRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /trust/renew`, over a connection with the certificate that is to be renewed.

    Attributes:
        request: PKCS#10 certificate request in PEM form, with the old key or a new one.
    """

    request: str


class RenewAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The next certificate of the same subject.

    Attributes:
        certificate: As in `JoinAnswer`.
        authority: As in `JoinAnswer`.
    """

    certificate: str
    authority: str


class EnrolmentError(msgspec.Struct, frozen=True, kw_only=True):
    """Why something was refused.

    Attributes:
        code: Name of the condition, as of errors everywhere (`edgesplit.errors`).
        message: One sentence.
    """

    code: str
    message: str


class EnrolmentFailure(msgspec.Struct, frozen=True, kw_only=True):
    """Body of an answer with status 400 (what was asked), 401 (token), 403 (certificate), 409 (name taken) or 429 (too many wrong tokens).

    Attributes:
        error: Why.
    """

    error: EnrolmentError
