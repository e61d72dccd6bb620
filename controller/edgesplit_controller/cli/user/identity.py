"""Who the user of splitctl is: the folder of an operator's identity, and what follows for the broker and for requests.

Owns: reading that folder. Its rule: with an identity everything that is asked is signed, and only what the controller signed is believed.
Not here: how an operator gets one (`commands`), the conversation (`ask.py`).
"""

from __future__ import annotations

from pathlib import Path

from edgesplit.errors import InvalidConfiguration
from edgesplit.mqtt.broker_address import TlsFiles
from edgesplit.mqtt.signed.message_security import MessageSecurity
from edgesplit.topic_table import signed_rows
from edgesplit.trust.credentials import Credentials
from edgesplit.trust.files import TrustFiles
from edgesplit.trust.subjects import BROKER_HOST

__all__ = ["operator_security", "operator_tls"]


def operator_security(folder: Path) -> MessageSecurity:
    """What signs this operator's requests and judges the controller's replies.

    Raises:
        InvalidConfiguration: A file is missing or holds something else, or the certificate is no operator's.
    """
    credentials = Credentials.load(TrustFiles.of(folder))
    if credentials.subject.role != "operator":
        raise InvalidConfiguration(
            f"the certificate in {folder} is that of {credentials.subject}, and splitctl is for operators: log in (splitctl login)"
        )
    return MessageSecurity(credentials, signed_rows())


def operator_tls(folder: Path, given: TlsFiles) -> TlsFiles:
    """TLS towards the fleet's broker as this operator, where nothing else was said."""
    files = TrustFiles.of(folder)
    return TlsFiles(
        given.ca_file or str(files.authority),
        given.cert_file or str(files.certificate),
        given.key_file if given.cert_file else str(files.key),
        given.server_name or BROKER_HOST,
    )
