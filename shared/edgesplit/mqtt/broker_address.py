"""Where the MQTT broker is and how it is trusted: its URL and TLS files.

Owns: reading `mqtt://` and `mqtts://` URLs, and the TLS context of a connection. Its rule: a wrong URL or file is one
sentence that never repeats a password. Not here: connecting (`mqtt/bus.py`), why a connection fails (`mqtt/broker_diagnosis.py`).
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import unquote, urlsplit

from edgesplit.errors import InvalidConfiguration

__all__ = ["NO_FILES", "BrokerAddress", "TlsFiles"]

PORT = 1883
TLS_PORT = 8883
_PREFIX = re.compile(r"[A-Za-z0-9_-]{1,64}(/[A-Za-z0-9_-]{1,64}){0,7}")


@dataclass(frozen=True)
class TlsFiles:
    """Keys of a `[broker]` section that say whom to trust and how to prove who one is; all empty by default.

    Attributes:
        ca_file: PEM certificates of the authorities that may have signed the broker's; empty: the system's.
        cert_file: PEM certificate of this program, for brokers that ask for one.
        key_file: Its key; empty: it is in `cert_file`.
        server_name: Name that the broker's certificate must carry; empty: the URL's host.
    """

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    server_name: str = ""

    @property
    def given(self) -> tuple[str, ...]:
        """Names of the keys that say something."""
        return tuple(key for key in ("ca_file", "cert_file", "key_file", "server_name") if getattr(self, key))


NO_FILES = TlsFiles()


@dataclass(frozen=True)
class BrokerAddress:
    """A broker's URL, taken apart.

    Attributes:
        tls: Whether the scheme is `mqtts`.
        files: What TLS needs beyond the system's authorities.
        prefix: Levels above all topics, from the URL's path, with a slash at their end; empty for none: several fleets share a broker by it.
    """

    host: str
    port: int
    tls: bool
    user: str | None
    password: str | None
    files: TlsFiles = NO_FILES
    prefix: str = ""

    def __str__(self) -> str:
        """Host and port only: what logs and status lines may show."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def who(self) -> str:
        """Whom the broker knows this program as, for sentences about its rights."""
        if self.user is None and self.files.cert_file:
            return f"the holder of {self.files.cert_file}"
        return f"user {self.user!r}" if self.user is not None else "a client without a name"

    @classmethod
    def parse(cls, url: str, files: TlsFiles = NO_FILES) -> BrokerAddress:
        """Read `mqtt://[user:password@]host[:1883][/prefix]` or `mqtts://…[:8883][/prefix]`.

        Raises:
            InvalidConfiguration: Another scheme, no host, a port out of range, characters that must be
                percent-encoded, or TLS files for a broker without TLS. The URL is not repeated where a part of a
                password may be anywhere in it.
        """
        _, separator, rest = url.partition("://")
        if separator and any(mark in rest.rpartition("@")[0] for mark in "/?#"):
            raise InvalidConfiguration(
                "the broker URL cannot be read: / ? # and @ in a user name or password are written "
                "%2F %3F %23 and %40 (percent-encoding)"
            )
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise InvalidConfiguration(
                "the broker URL cannot be read: after the host comes a port from 1 to 65535, or nothing "
                "(mqtt://user:password@host:1883)"
            ) from error
        if parts.scheme not in {"mqtt", "mqtts"} or not parts.hostname or parts.query or parts.fragment:
            shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if separator else url
            raise InvalidConfiguration(f"broker URL {shown!r} must look like mqtt://host:1883 or mqtts://host:8883")
        levels = parts.path.strip("/")
        if levels and not _PREFIX.fullmatch(levels):
            raise InvalidConfiguration(
                f"the broker URL's path {levels!r} cannot stand above topics: name levels of letters, digits, dashes and underscores, "
                "with slashes between (mqtt://host:1883/site-a)"
            )
        if port == 0:
            raise InvalidConfiguration("the broker URL names port 0: leave the port out for 1883 (TLS: 8883)")
        tls = parts.scheme == "mqtts"
        if files.given and not tls:
            raise InvalidConfiguration(
                f"broker {' and '.join(files.given)} mean TLS, and the broker URL begins with mqtt://: write mqtts://"
            )
        if files.key_file and not files.cert_file:
            raise InvalidConfiguration("broker key_file is the key of a certificate: name that in cert_file")
        return cls(
            host=parts.hostname,
            port=port or (TLS_PORT if tls else PORT),
            tls=tls,
            user=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            files=files,
            prefix=f"{levels}/" if levels else "",
        )

    def tls_context(self) -> ssl.SSLContext:
        """Whom to trust, for one connection.

        Raises:
            InvalidConfiguration: A file cannot be read or holds no certificate or key.
        """
        context = _NamedContext(ssl.PROTOCOL_TLS_CLIENT)
        context.expected_name = self.files.server_name
        if self.files.ca_file:
            _load("ca_file", self.files.ca_file, context.load_verify_locations)
        else:
            context.load_default_certs()
        self.renew(context)
        return context

    def renew(self, context: ssl.SSLContext) -> None:
        """Load this program's certificate from its files, for connections to come.

        Raises:
            InvalidConfiguration: A file cannot be read or holds no certificate or key.
        """
        if self.files.cert_file:
            key_file = self.files.key_file or None
            load = partial(context.load_cert_chain, keyfile=key_file, password=_no_password)
            _load("cert_file", self.files.cert_file, load)


class _NamedContext(ssl.SSLContext):
    """A context that asks for a name of its own instead of the host that was connected to."""

    expected_name: str = ""

    def wrap_socket(self, sock: Any, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        """See `ssl.SSLContext.wrap_socket`."""
        if self.expected_name:
            options["server_hostname"] = self.expected_name
        return super().wrap_socket(sock, *arguments, **options)


def _no_password() -> str:
    # Without this, OpenSSL would ask on the terminal, for ever where nobody sits.
    raise ValueError("the key is encrypted")


def _load(key: str, path: str, load: Any) -> None:
    try:
        load(path)
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or str(error)
        what = "certificates" if key == "ca_file" else "a certificate with its unencrypted key (key_file)"
        raise InvalidConfiguration(
            f"broker {key} {path} does not hold {what} in PEM form ({str(reason).replace('_', ' ').lower()})"
        ) from error
    except OSError as error:
        raise InvalidConfiguration(f"broker {key} {path} cannot be read: {error.strerror or error}") from error
