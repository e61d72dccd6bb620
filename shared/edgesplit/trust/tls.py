"""TLS contexts of a program's identity, and what a failed handshake means.

Owns: which TLS is spoken (1.3 alone), whom a context trusts and shows, taking renewed files over, and the sentence about a
handshake that failed. Its rule: contexts are made once and given to whoever connects and listens; a renewed certificate is loaded into
them and holds from the next handshake on; standard library alone. Not here: who may do what (each listener says), revocation
(`control/trust_messages.py`), the broker's address and TLS keys of `[broker]` (`mqtt/broker_address.py`).
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgesplit.errors import InvalidConfiguration
from edgesplit.trust.files import TrustFiles
from edgesplit.trust.subjects import PeerCertificate, Role

__all__ = ["TlsContexts", "client_context", "explain_handshake"]

_ALERTS: Mapping[str, str] = {
    "CERTIFICATE_EXPIRED": "takes the certificate here for expired: compare the clock here with the clock there, or join again",
    "UNKNOWN_CA": "does not know the authority of the certificate here: it is of another fleet",
    "DECRYPT_ERROR": "does not know the authority of the certificate here, only one of that name: it is of another fleet",
    "CERTIFICATE_REQUIRED": "wants a certificate: join the fleet first",
    "CERTIFICATE_REVOKED": "takes the certificate here for revoked: join again",
    "BAD_CERTIFICATE": "refuses the certificate here, or takes it for not valid yet: compare the clock here with the clock there",
    "CERTIFICATE": "refuses the certificate here",
    "WRONG_VERSION_NUMBER": "does not speak TLS: it is not secured, or something else listens there",
    "HTTP_REQUEST": "does not speak TLS: it is not secured, or something else listens there",
}
"""What OpenSSL calls the end of a handshake (a part of the name is enough, the first counts), and what that means to people."""


@dataclass(frozen=True)
class TlsContexts:
    """The TLS of one program.

    Attributes:
        client: For connecting; verifies the other side's certificate against the authority, not its host: who it is, is read
            from the certificate (`PeerCertificate.of`).
        server: For listening to programs of the fleet: whoever connects must show a certificate.
        open_server: For listening to strangers too: a certificate is asked for and need not be shown; one that is shown must be
            of the authority.
        to_nodes: As `client`, for libraries that show nobody the certificate: the handshake fails with whoever is no node.
        to_controller: Likewise, with whoever is not the controller.
    """

    files: TrustFiles
    client: ssl.SSLContext
    server: ssl.SSLContext
    open_server: ssl.SSLContext
    to_nodes: ssl.SSLContext
    to_controller: ssl.SSLContext

    @classmethod
    def load(cls, files: TrustFiles) -> TlsContexts:
        """Contexts of these files.

        Raises:
            InvalidConfiguration: A file is missing or holds something else.
        """
        contexts = cls(
            files,
            _connecting(),
            _listening(ssl.CERT_REQUIRED),
            _listening(ssl.CERT_OPTIONAL),
            _connecting_to("node"),
            _connecting_to("controller"),
        )
        for context in contexts._all:
            context.minimum_version = ssl.TLSVersion.TLSv1_3
        contexts.renew()
        return contexts

    @property
    def _all(self) -> tuple[ssl.SSLContext, ...]:
        return self.client, self.server, self.open_server, self.to_nodes, self.to_controller

    def renew(self) -> None:
        """Take the certificate and the key from their files again, and further authorities, for handshakes to come.

        Raises:
            InvalidConfiguration: A file is missing or holds something else.
        """
        for context in self._all:
            _load(context.load_verify_locations, self.files.authority)
            _load(context.load_cert_chain, self.files.certificate, str(self.files.key), _no_password)


def client_context(authority: Path, certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """For connecting as a program that has no folder of its own.

    Args:
        authority: Who may have issued the other side's certificate.
        certificate: This program's; None where it shows none.
        key: Of the certificate; None where both are in one file.

    Raises:
        InvalidConfiguration: A file is missing or holds something else.
    """
    context = _connecting()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    _load(context.load_verify_locations, authority)
    if certificate is not None:
        _load(context.load_cert_chain, certificate, None if key is None else str(key), _no_password)
    return context


def explain_handshake(error: OSError, whom: str) -> str:
    """Why a TLS handshake failed, as one sentence that says what to do.

    Args:
        error: Of the handshake.
        whom: The other side, as in "the controller at 10.9.0.9:7480".
    """
    reason = str(getattr(error, "reason", "") or "").upper()
    verified = str(getattr(error, "verify_message", "") or "")
    if any(word in verified.lower() for word in ("expired", "not yet valid")):
        when = "is not valid yet" if "not yet" in verified.lower() else "has expired"
        return f"the certificate of {whom} {when}: compare the clock here with the clock there"
    if verified:
        return f"{whom} is not of this fleet ({verified}): its certificate is of another authority"
    known = next((sentence for word, sentence in _ALERTS.items() if word in reason), "")
    return (
        f"{whom} {known}" if known else f"no TLS connection with {whom} ({_words(reason) or error.strerror or error})"
    )


def _connecting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    return context


def _connecting_to(role: Role) -> ssl.SSLContext:
    """Fails a handshake with anybody else before a byte of the program leaves."""

    class RoleChecked(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            shown = PeerCertificate.of(self)
            if shown is None or shown.subject.role != role:
                who = "nobody" if shown is None else str(shown.subject)
                raise ssl.SSLCertVerificationError(1, f"a {role} was meant to answer and {who} did")

    context = _connecting()
    context.sslobject_class = RoleChecked
    return context


def _listening(wanted: ssl.VerifyMode) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = wanted
    context.num_tickets = 0  # connections last; a ticket would outlive a revocation
    return context


def _words(reason: str) -> str:
    return reason.replace("_", " ").lower()


def _no_password() -> str:
    # Without this, OpenSSL would ask on the terminal, for ever where nobody sits.
    raise ValueError("the key is encrypted")


def _load(load: Callable[..., object], path: Path, *further: object) -> None:
    try:
        load(str(path), *further)
    except (ssl.SSLError, ValueError) as error:
        reason = _words(str(getattr(error, "reason", None) or error))
        raise InvalidConfiguration(f"{path} does not hold what TLS needs in PEM form ({reason})") from error
    except OSError as error:
        raise InvalidConfiguration(f"{path} cannot be read: {error.strerror or error}") from error
