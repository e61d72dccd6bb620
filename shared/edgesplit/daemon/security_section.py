"""Section `[security]` of both daemons' configuration: whether a program belongs to a secured fleet, and what it may do without.

Owns: its keys, what they make of defaults in other sections, and the refusal to listen to strangers unsecured. Its rule: safe unless told
otherwise; without security a program is for its own machine alone. Not here: certificates (`edgesplit.trust`), joining (the agent's `joining`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from edgesplit.daemon.configuration_sections import BrokerSection, Section
from edgesplit.errors import InvalidConfiguration
from edgesplit.mqtt.broker_address import BrokerAddress
from edgesplit.trust.files import TrustFiles
from edgesplit.trust.subjects import BROKER_HOST
from edgesplit.wire.address import host_of, is_loopback

__all__ = ["SecuritySection"]

BrokerT = TypeVar("BrokerT", bound=BrokerSection)

LOOPBACK, EVERY_INTERFACE = "127.0.0.1", "0.0.0.0"  # noqa: S104 - the latter for secured fleets alone
_TLS = "mqtts://"


def _default_folder() -> str:
    # systemd names the folder it made for the service; by hand, the usual place for a daemon's state.
    return f"{(os.environ.get('STATE_DIRECTORY') or '/var/lib/edgesplit').split(':')[0]}/trust"


class SecuritySection(Section, frozen=True, kw_only=True):
    """Who is trusted.

    Attributes:
        mode: `none`: whoever reaches a port may use it, so that ports are this machine's alone; `fleet`: only holders of a
            certificate of the fleet's authority, over TLS (docs/security.md).
        folder: Where authority.pem, certificate.pem and key.pem lie.
        insecure_network: In mode `none`: listen beyond this machine all the same, to whoever is there.
        renew: In mode `fleet`: ask the controller for the next certificate in time; false where somebody else puts it into the folder (an
            own PKI), from where it is read again in any case.
        local_clients: In mode `fleet`: programs on this machine may send requests over loopback or the Unix socket without TLS.
    """

    mode: Literal["none", "fleet"] = "none"
    folder: str = msgspec.field(default_factory=_default_folder)
    insecure_network: bool = False
    renew: bool = True
    local_clients: bool = True

    @property
    def secured(self) -> bool:
        """Whether programs must prove who they are."""
        return self.mode == "fleet"

    @property
    def insecure(self) -> bool:
        """Whether strangers are let in on purpose."""
        return self.mode == "none" and self.insecure_network

    @property
    def trust_folder(self) -> Path:
        """The folder of this program's identity."""
        return Path(self.folder)

    @property
    def files(self) -> TrustFiles:
        """This program's identity."""
        return TrustFiles.of(self.trust_folder)

    def default_listen(self, port: int) -> str:
        """Where a port is opened that other machines need, when the configuration names no address: host:port."""
        return f"{EVERY_INTERFACE if self.secured else LOOPBACK}:{port}"

    def completed(self, section: BrokerT) -> BrokerT:
        """`[broker]` with this program's identity and the broker's name in certificates, where TLS is asked for and they are not given."""
        if not self.secured or not section.url.startswith(_TLS):
            return section
        files = self.files
        own = {} if section.cert_file else {"cert_file": str(files.certificate), "key_file": str(files.key)}
        return msgspec.structs.replace(
            section,
            ca_file=section.ca_file or str(files.authority),
            server_name=section.server_name or BROKER_HOST,
            **own,
        )

    def check(self, listens: Mapping[str, str], broker: BrokerAddress, joining: str) -> None:
        """Refuse to start where strangers would be let in that nobody asked in.

        Args:
            listens: Addresses that are listened on, host:port each, by their key such as `[data] listen`.
            broker: Over which decisions come.
            joining: How a program of this kind gets into a secured fleet, as in "run edgesplit-agent join".

        Raises:
            InvalidConfiguration: The sentence says both ways out.
        """
        if self.secured:
            if not broker.tls and not is_loopback(broker.host):
                raise InvalidConfiguration(
                    f"[security] mode is fleet, and [broker] url {broker} is not TLS: write mqtts:// (docs/broker.md)"
                )
            if broker.prefix:
                raise InvalidConfiguration(
                    f"[security] mode is fleet, and [broker] url {broker} has the path {broker.prefix}: what is signed for one fleet would count "
                    "in another of the same authority; give this one a broker of its own, or leave the path out"
                )
            return
        open_ = _beyond_loopback(listens)
        if open_ and not self.insecure_network:
            raise InvalidConfiguration(
                f"{open_} can be reached from other machines, and nothing here is secured: {joining}, or listen on {LOOPBACK}, or set "
                "insecure_network = true in [security] if whoever reaches it may use it (docs/security.md)"
            )

    def warning(self, listens: Mapping[str, str]) -> str:
        """What every start says where `insecure_network` holds; empty where it does not.

        Args:
            listens: As of `check`.
        """
        if not self.insecure:
            return ""
        reached = _beyond_loopback(listens)
        what = (
            f"whoever reaches {reached} may use it"
            if reached
            else "whoever reaches the broker may steer what runs here"
        )
        return f"insecure_network = true: {what}, nothing is encrypted, and nobody has to prove who they are (docs/security.md)"


def _beyond_loopback(listens: Mapping[str, str]) -> str:
    """Keys with addresses that other machines reach, for a sentence."""
    return " and ".join(
        f"{key} {address}" for key, address in listens.items() if address and not is_loopback(host_of(address))
    )
