"""What a client shows to an agent of a secured fleet, and what it wants to see.

Owns: what the arguments of `edgesplit.connect` mean together. Its rule: the standard library alone, and no token leaves the machine
in the clear. Not here: the connection (`client/asynchronous.py`), what an agent makes of it.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgesplit.errors import InvalidConfiguration
from edgesplit.trust.access import expecting
from edgesplit.trust.subjects import PeerCertificate
from edgesplit.trust.tls import client_context
from edgesplit.wire.address import TcpAddress, is_loopback, parse_address

__all__ = ["ClientProof"]

AnyPath = str | os.PathLike[str]


@dataclass(frozen=True)
class ClientProof:
    """Nothing, by default: for agents without security, and on this machine.

    Attributes:
        context: Of TLS; None: without.
        expects: Refuses whoever was not meant.
        token: Shown in the greeting; empty: none.
    """

    context: ssl.SSLContext | None = None
    expects: Callable[[PeerCertificate | None], None] | None = None
    token: str = ""

    @classmethod
    def of(
        cls,
        address: str,
        token: str | None,
        ca_file: AnyPath | None,
        cert_file: AnyPath | None,
        key_file: AnyPath | None,
    ) -> ClientProof:
        """See `edgesplit.connect`.

        Raises:
            InvalidConfiguration: A file cannot be used, one is missing, or a token would leave the machine in the clear.
        """
        if ca_file is None:
            if cert_file is not None or key_file is not None:
                raise InvalidConfiguration(
                    "a certificate is shown over TLS: give ca_file, the fleet's authority.pem, too"
                )
            if token and not _stays_here(address):
                raise InvalidConfiguration(
                    "a token is sent over TLS alone: give ca_file, the fleet's authority.pem, too"
                )
            return cls(token=token or "")
        if key_file is not None and cert_file is None:
            raise InvalidConfiguration("key_file belongs to a certificate: give cert_file too")
        context = client_context(
            Path(ca_file), None if cert_file is None else Path(cert_file), None if key_file is None else Path(key_file)
        )
        return cls(context, expecting("node"), token or "")


def _stays_here(address: str) -> bool:
    target = parse_address(address)
    return not isinstance(target, TcpAddress) or is_loopback(target.host)
