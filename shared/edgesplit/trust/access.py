"""Access to a node of a fleet: whom it lets in, and as what.

Owns: the rules by role, and the list of revoked certificates. Its rule: whoever is let in was let in here, by certificate, by token, or
as a program of this machine; every refusal is one sentence. Not here: sockets and HTTP, which ask; the tokens (`trust/tokens.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from edgesplit.errors import NotTrusted
from edgesplit.trust.subjects import PeerCertificate, Role, Subject
from edgesplit.trust.tls import TlsContexts
from edgesplit.trust.tokens import TokenBook, TokenGrant

__all__ = ["GRANTED_MODELS", "Access", "Permit", "RoleNotGranted", "expecting"]

GRANTED_MODELS = "edgesplit-granted-models"
"""Key of an HTTP request that was let in: names of the models that whoever asks may know of; none, or not there: all."""

_ASKING: frozenset[Role] = frozenset({"client", "operator", "node"})
"""Who may send requests: people and programs, and nodes on their behalf."""


class RoleNotGranted(NotTrusted):
    """The certificate is good, and of somebody who may not do this."""


@dataclass(frozen=True)
class Permit:
    """What somebody who was let in may do.

    Attributes:
        who: For logs.
        grant: What requests are limited to; None: by nothing.
    """

    who: str
    grant: TokenGrant | None = None


class Access:
    """Whom one node lets in.

    Args:
        contexts: The node's TLS.
        tokens: What clients' tokens allow.
        local_clients: Whether programs of this machine may ask without proof.
        clock: Since the epoch. [s]

    Attributes:
        revoked: Serial numbers of certificates that are trusted no more.
    """

    def __init__(
        self,
        contexts: TlsContexts,
        tokens: TokenBook | None = None,
        *,
        local_clients: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.contexts = contexts
        self.tokens = tokens or TokenBook()
        self.local_clients = local_clients
        self.revoked: Collection[str] = frozenset()
        self._clock = clock

    def is_revoked(self, certificate: PeerCertificate | None) -> bool:
        """Whether it is trusted no more."""
        return certificate is not None and certificate.serial in self.revoked

    def check(self, certificate: PeerCertificate | None) -> None:
        """Refuse a certificate that is trusted no more.

        Raises:
            NotTrusted: It was revoked.
        """
        if certificate is not None and self.is_revoked(certificate):
            raise NotTrusted(f"the certificate of {certificate.subject} was revoked: join again")

    def check_node(self, certificate: PeerCertificate | None, name: str = "") -> None:
        """Let a node in as one.

        Args:
            certificate: Of the other side.
            name: Which node it says it is; empty: any.

        Raises:
            NotTrusted: It is another, or none.
        """
        self.check(certificate)
        if certificate is None:
            raise NotTrusted("only nodes of this fleet may do this: show a node's certificate")
        subject = certificate.subject
        if subject.role != "node" or (name and subject.name != name):
            meant = str(Subject("node", name)) if name else "a node"
            raise RoleNotGranted(f"the certificate is that of {subject}, which cannot speak as {meant}")

    def check_blob_reader(self, certificate: PeerCertificate | None) -> None:
        """Let in whoever may read blobs: nodes, and the controller, which takes its records back.

        Raises:
            NotTrusted: It is another, or none.
        """
        if certificate is not None and certificate.subject.role == "controller":
            self.check(certificate)
        else:
            self.check_node(certificate)

    def admit_client(
        self, certificate: PeerCertificate | None, token: str, *, is_local: bool, as_node: str = ""
    ) -> Permit:
        """Let somebody in who sends requests.

        Args:
            certificate: Of the other side.
            token: What it shows besides; empty: none.
            is_local: Whether it is a program of this machine.
            as_node: Which node it says it is; empty: none.

        Raises:
            NotTrusted: It can prove nothing, or something else.
        """
        self.check(certificate)
        if as_node:
            self.check_node(certificate, as_node)
        if certificate is not None and certificate.subject.role in _ASKING:
            return Permit(str(certificate.subject))
        if token:
            grant = self.tokens.grant_of(token, now_s=self._clock())
            return Permit(f"token {grant.name}", grant)
        if is_local and self.local_clients:
            return Permit("a program of this machine")
        if certificate is not None:
            raise RoleNotGranted(f"the certificate is that of {certificate.subject}, which sends no requests")
        raise NotTrusted(
            "this node answers those who show a certificate of its fleet, or a token: see splitctl token add"
        )

    def check_model(self, permit: Permit, model: str) -> None:
        """Refuse to tell of a model that a token is not for; raises as `TokenBook.check_model`."""
        if permit.grant is not None:
            self.tokens.check_model(permit.grant, model, now_s=self._clock())

    def spend(self, permit: Permit, model: str) -> None:
        """Count a request; raises as `TokenBook.spend`."""
        if permit.grant is not None:
            self.tokens.spend(permit.grant, model, now_s=self._clock())


def expecting(role: Role, name: str = "", access: Access | None = None) -> Callable[[PeerCertificate | None], None]:
    """A check of who answers.

    Args:
        role: What it must be.
        name: Who it must be; empty: any.
        access: Whose list of revoked certificates holds; None: none.

    Returns:
        What raises NotTrusted for anybody else.
    """

    def expects(certificate: PeerCertificate | None) -> None:
        if access is not None:
            access.check(certificate)
        subject = None if certificate is None else certificate.subject
        if subject is None or subject.role != role or (name and subject.name != name):
            meant = f"{role} {name}" if name else f"a {role}"
            raise NotTrusted(f"{subject or 'somebody without a name'} answers where {meant} was meant to")

    return expects
