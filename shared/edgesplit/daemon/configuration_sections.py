"""Sections that the configuration files of both daemons have.

Owns: `[broker]` and what all sections have in common. Its rule: a value that cannot be is refused where it is read, so that
the error names its key. Not here: the merge of file and environment (`configuration_file.py`).
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from edgesplit.errors import EdgesplitError
from edgesplit.mqtt.broker_address import BrokerAddress, TlsFiles

__all__ = ["BrokerSection", "Section", "checked"]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all sections: immutable, unknown keys refused."""


class BrokerSection(Section, frozen=True, kw_only=True):
    """Where the control plane is.

    Attributes:
        url: `mqtt://[user:password@]host:1883` or `mqtts://host:8883`; `/ ? # @` in a password percent-encoded. A path, as in
            `mqtt://host/site-a`, stands above all topics: fleets with different ones share a broker.
        ca_file: For TLS: PEM certificates that may have signed the broker's; empty: the system's.
        cert_file: For TLS: PEM certificate of this program, for brokers that ask for one.
        key_file: For TLS: its key; empty: it is in `cert_file`.
        server_name: For TLS: the name in the broker's certificate; empty: the URL's host.
    """

    url: str = "mqtt://127.0.0.1:1883"
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    server_name: str = ""

    def __post_init__(self) -> None:
        """Refuse a URL that cannot be one."""
        checked(lambda: self.address)

    @property
    def address(self) -> BrokerAddress:
        """The URL taken apart, with its TLS files."""
        files = TlsFiles(self.ca_file, self.cert_file, self.key_file, self.server_name)
        return BrokerAddress.parse(self.url, files)


def checked(probe: Callable[[], object]) -> None:
    """Run a check whose errors are edgesplit's.

    Raises:
        ValueError: With the same sentence: msgspec adds the key's path to a ValueError only.
    """
    try:
        probe()
    except EdgesplitError as error:
        raise ValueError(str(error)) from error
