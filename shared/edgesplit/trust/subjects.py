"""Whom a certificate speaks for: a role and a name.

Owns: the five roles, how both are written in a certificate and read back from what Python's `ssl` says of one. Its rule: standard
library alone, for clients read certificates too; what cannot be read speaks for nobody. Not here: making certificates
(`trust/credentials.py`), TLS contexts (`trust/tls.py`).

A certificate of a fleet's own authority carries `edgesplit://ROLE/NAME` as a URI among its alternative names. One of another
authority may say the same there, or have the common name `ROLE:NAME`.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args
from urllib.parse import quote, unquote

__all__ = [
    "BROKER_HOST",
    "CONTROLLER_HOST",
    "ROLES",
    "PeerCertificate",
    "Role",
    "Subject",
    "normal_serial",
    "subject_of",
]

Role = Literal["controller", "broker", "node", "operator", "client"]
"""What the holder of a certificate is, and so may do."""
ROLES: tuple[Role, ...] = get_args(Role)
SCHEME = "edgesplit"

CONTROLLER_HOST = "controller.edgesplit.internal"
BROKER_HOST = "broker.edgesplit.internal"
"""Names that certificates of these roles carry for TLS libraries that compare a host: the authority gives them to no other role,
and the host that was connected to is looked up anew whenever machines move."""

_LONGEST_COMMON_NAME = 60
"""RFC 5280, ub-common-name, is 64; the rest is for the number of a name's later identity."""


@dataclass(frozen=True, order=True)
class Subject:
    """Whom a certificate speaks for."""

    role: Role
    name: str

    def __str__(self) -> str:
        """As messages to people have it: `node camera`."""
        return f"{self.role} {self.name}"

    @property
    def uri(self) -> str:
        """Among the alternative names of the certificate."""
        return f"{SCHEME}://{self.role}/{quote(self.name, safe='')}"

    @property
    def common_name(self) -> str:
        """Of the request, and of the first certificate of this name; what brokers take for the user's name.

        Raises:
            ValueError: The name is too long for a certificate.
        """
        text = f"{self.role}:{self.name}"
        if len(text) > _LONGEST_COMMON_NAME:
            longest = _LONGEST_COMMON_NAME - len(self.role) - 1
            raise ValueError(f"the name of a {self.role} may have {longest} characters where certificates are used")
        return text


@dataclass(frozen=True)
class PeerCertificate:
    """What a TLS connection says of its other side, whose certificate was verified.

    Attributes:
        subject: Whom it speaks for.
        serial: Lower-case hexadecimal.
        expires_s: Since the epoch. [s]
    """

    subject: Subject
    serial: str
    expires_s: float

    @classmethod
    def of(cls, connection: ssl.SSLSocket | ssl.SSLObject) -> PeerCertificate | None:
        """The other side's; None where it showed none, or one that speaks for nobody."""
        shown = cast("Mapping[str, Any] | None", connection.getpeercert())
        if not shown:
            return None
        subject = subject_of(
            uris=[value for key, value in shown.get("subjectAltName", ()) if key == "URI"],
            common_names=[value for part in shown.get("subject", ()) for key, value in part if key == "commonName"],
        )
        if subject is None:
            return None
        expires_s = float(ssl.cert_time_to_seconds(shown["notAfter"]))
        return cls(subject, normal_serial(shown["serialNumber"]), expires_s)


def subject_of(uris: Iterable[str], common_names: Iterable[str]) -> Subject | None:
    """The first of a certificate's names that says a role; None where none does."""
    prefix = f"{SCHEME}://"
    pairs = [text.removeprefix(prefix).partition("/") for text in uris if text.startswith(prefix)]
    pairs += [text.partition(":") for text in common_names]
    for role, _, name in pairs:
        if role in ROLES and name:
            return Subject(role, unquote(name))
    return None


def normal_serial(text: str) -> str:
    """A serial number in hexadecimal, as it is compared."""
    return text.lower().lstrip("0") or "0"
