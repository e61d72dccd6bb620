"""Joining: a node's key, its certificate, its configuration and, if asked for, its service.

Owns: the order of steps. Its rule: nothing is asked with a token before everything that could stand in the way here was tried, nobody is
told the token who is not whom it names, and doing it again changes nothing. Not here: the exchange (`edgesplit.trust.enrolment_client`), the
files (`node_files.py`), the service (`service_unit.py`).
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edgesplit.daemon.advertised_address import Network, SystemNetwork
from edgesplit.daemon.service_unit import ServiceUnit
from edgesplit.errors import InvalidConfiguration, NotTrusted
from edgesplit.names import checked_name
from edgesplit.trust.credentials import Credentials, authority_digest, certificate_request, key_pem, new_key, verify
from edgesplit.trust.enrolment import JoinAnswer, JoinRequest, JoinToken
from edgesplit.trust.enrolment_client import ControllerPlace, JoinConnection, authority_of
from edgesplit.trust.subjects import Subject
from edgesplit.wire.address import is_loopback
from edgesplit_agent.joining.node_files import NodeFiles

__all__ = ["JoinDocument", "Joining"]

Say = Callable[[str], None]


class JoinDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`edgesplit-agent join --json`.

    Attributes:
        name: Of the node, as in its certificate.
        changed: False where it had joined already.
        authority: SHA-256 of the authority's certificate, in hexadecimal.
        expires_unix_s: When the node's certificate ends; it renews itself before. [s since the epoch]
        configuration: The agent's file.
        folder: Of its identity.
        addresses: At which the node was measured to be reached.
        service: Whether a service was installed, or found, and runs.
    """

    name: str
    changed: bool
    authority: str
    expires_unix_s: float
    configuration: str
    folder: str
    addresses: tuple[str, ...]
    service: bool


@dataclass(frozen=True)
class Joining:
    """One attempt.

    Attributes:
        files: Where the node keeps what is written.
        unit: Its service, where one is asked for.
        say: Told each step.
        network: This machine's.
    """

    files: NodeFiles
    unit: ServiceUnit | None
    say: Say
    network: Network = field(default_factory=SystemNetwork)

    def join(self, url: str, token: str, name: str = "") -> JoinDocument:
        """Do what is left to do.

        Args:
            url: Of the controller.
            token: As the authority gave it out.
            name: Of the node; empty: the token's.

        Raises:
            EdgesplitError: The sentence says what stands in the way.
        """
        place, parsed = ControllerPlace.parse(url), JoinToken.parse(token)
        if name:
            checked_name("node", name)
        present = self._present(parsed, name)
        if self.unit is not None:
            self.unit.check(self.files.configuration)
        if present is not None:
            self.say(f"{present.subject} has joined this fleet already: nothing to do")
            self._start(restart=False)
            return self._document(present, (), changed=False)
        self.files.check_writable()
        self.say(f"asking {place} for its authority, and comparing it with the token")
        authority = authority_of(place, parsed)
        key = new_key()
        with JoinConnection(place, authority) as connection:
            addresses = self._addresses(connection.local_host)
            self.say(f"joining from {', '.join(addresses)}")
            request = JoinRequest(
                token=token,
                kind="node",
                name=name,
                request=certificate_request(key, Subject("node", name or _provisional_name())).decode(),
                addresses=addresses,
            )
            public_key = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            answer: JoinAnswer = connection.join(request, public_key)
        self.files.write_configuration(answer.name, answer.broker)
        self.files.write_identity(answer.authority, answer.certificate, key_pem(key))
        self.say(
            f"joined as {answer.name}; configuration in {self.files.configuration}, identity in {self.files.folder}"
        )
        self._start(restart=True)
        return self._document(Credentials.load(self.files.trust), addresses, changed=True)

    def _present(self, token: JoinToken, name: str) -> Credentials | None:
        """Who this node is already, where that is still good and what is asked for.

        Raises:
            InvalidConfiguration: It is of another fleet, or has another name there.
        """
        found = self.files.identity()
        if found is None:
            return None
        if token.authority not in {authority_digest(authority) for authority in found.authorities}:
            raise InvalidConfiguration(
                f"this machine is {found.subject} of another fleet ({self.files.folder}): run edgesplit-agent leave first"
            )
        try:
            verify(found.certificate, found.authorities, now_s=time.time())
        except NotTrusted:
            return None  # it ended, and is asked for again
        if name and name != found.subject.name:
            raise InvalidConfiguration(
                f"this machine is {found.subject} of this fleet: run edgesplit-agent leave first"
            )
        return found if self.files.configuration.exists() else None

    def _addresses(self, seen: str) -> tuple[str, ...]:
        """At which others reach this machine: as the controller sees it, and where that is here, on the networks it is attached to."""
        return self.network.attached() or (seen,) if is_loopback(seen) else (seen,)

    def _start(self, *, restart: bool) -> None:
        if self.unit is not None:
            self.say(self.unit.install(self.files.configuration, restart=restart))

    def _document(self, found: Credentials, addresses: tuple[str, ...], *, changed: bool) -> JoinDocument:
        return JoinDocument(
            name=found.subject.name,
            changed=changed,
            authority=authority_digest(found.authorities[0]),
            expires_unix_s=found.facts.expires_s,
            configuration=str(self.files.configuration),
            folder=str(self.files.folder),
            addresses=addresses,
            service=self.unit is not None,
        )


def _provisional_name() -> str:
    """What a request is for whose name the token decides; the authority writes its own into the certificate."""
    return socket.gethostname().partition(".")[0][:40] or "node"
