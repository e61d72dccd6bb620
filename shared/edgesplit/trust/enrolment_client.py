"""Client side of enrolment: whom a join token names, the first certificate, and the next ones, asked of the controller over HTTPS.

Owns: these exchanges, and the sentence for each way in which they fail. Its rule: nothing but a request for its certificate is sent to
whoever has not proved to be the authority that the token names; every answer is bounded in size and time. Blocking: asyncio programs
call it in a thread. Not here: the messages (`trust/enrolment.py`), where files lie, when to renew (`trust/renewal.py`).
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edgesplit.errors import ControllerUnreachable, InvalidConfiguration, InvalidInput, NotTrusted, error_from_code
from edgesplit.trust.credentials import Credentials, authority_digest, certificate_request, read_certificates, verify
from edgesplit.trust.enrolment import (
    AUTHORITY_PATH,
    JOIN_PATH,
    RENEW_PATH,
    EnrolmentFailure,
    JoinAnswer,
    JoinRequest,
    JoinToken,
    RenewAnswer,
    RenewRequest,
)
from edgesplit.trust.files import TrustFiles
from edgesplit.trust.subjects import CONTROLLER_HOST
from edgesplit.trust.tls import TlsContexts, explain_handshake

__all__ = ["ControllerPlace", "JoinConnection", "authority_of", "renewed"]

T = TypeVar("T", bound=msgspec.Struct)

PORT = 7480
PATIENCE_S = 10.0
"""For connecting, and for each answer. [s]"""
MOST_BYTES = 1 << 20
"""Of an answer: a certificate and its authorities. [B]"""
CLOCKS_MAY_DIFFER_S = 300.0
"""Two machines of a fleet; signed requests are refused from there on. [s]"""
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----")


@dataclass(frozen=True)
class ControllerPlace:
    """Where a controller's HTTPS is."""

    host: str
    port: int

    @classmethod
    def parse(cls, url: str) -> ControllerPlace:
        """Read `https://HOST[:7480]`.

        Raises:
            InvalidInput: It is something else.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
            parts = urlsplit("")
        if (
            parts.scheme != "https"
            or not host
            or port == 0
            or parts.path not in {"", "/"}
            or parts.query
            or parts.username
        ):
            raise InvalidInput(f"{url!r} is no controller's address: write it as https://HOST:{PORT}")
        return cls(host, port or PORT)

    def __str__(self) -> str:
        """As sentences have it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def authority_of(place: ControllerPlace, token: JoinToken) -> bytes:
    """The certificate, in PEM form, of the authority that a token names, from a controller that nobody trusts yet.

    Raises:
        ControllerUnreachable: Nobody answers, or no controller with a secured fleet.
        NotTrusted: It is of another authority.
    """
    unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unverified.minimum_version = ssl.TLSVersion.TLSv1_3
    # All that is asked is a certificate, and that is compared with the token's digest.
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    with _explained(place):
        connection = _Connection(place, unverified)
        try:
            status, body, _ = connection.ask("GET", AUTHORITY_PATH)
        finally:
            connection.close()
    if status != http.HTTPStatus.OK:
        raise ControllerUnreachable(
            f"{place} has no fleet's authority to show (HTTP {status}): is this the controller, and its fleet secured?"
        )
    for pem in _PEM.findall(body):
        try:
            (certificate,) = read_certificates(pem)
        except InvalidConfiguration:
            continue
        if authority_digest(certificate) == token.authority:
            return certificate.public_bytes(Encoding.PEM)
    raise NotTrusted(
        f"the controller at {place} is not the one that the token is of: it is another fleet's, or somebody stands between; nothing was "
        "sent to it: take the line that splitctl node add printed as it is, or have a new one printed"
    )


class JoinConnection:
    """A verified connection to the controller, over which a program joins; a context manager.

    Args:
        place: Where the controller is.
        authority: Whom the token names, in PEM form.

    Attributes:
        local_host: This machine's address on it, at which the controller's machine sees it.

    Raises:
        ControllerUnreachable: It does not answer.
        NotTrusted: It is not the controller of this authority's fleet, or the clocks differ.
    """

    def __init__(self, place: ControllerPlace, authority: bytes) -> None:
        self._place, self._authority = place, authority
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations(cadata=authority.decode())
        with _explained(place):
            self._connection = _Connection(place, context)
            try:
                # Said again, now by whom it claims to be, for the time that comes with it.
                _, _, clock_s = self._connection.ask("GET", AUTHORITY_PATH)
            except BaseException:
                self._connection.close()
                raise
        self.local_host = self._connection.local_host
        _compare_clocks(place, clock_s)

    def __enter__(self) -> JoinConnection:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self._connection.close()

    def join(self, request: JoinRequest, public_key: bytes) -> JoinAnswer:
        """Hand the token in.

        Args:
            request: Whose key must be `public_key`.
            public_key: DER of the subject's public key.

        Raises:
            EdgesplitError: Why the controller refused; `NotTrusted` where what it answered is not what was asked for.
        """
        answer = _answered(self._place, self._connection, JOIN_PATH, request, JoinAnswer)
        authorities = read_certificates(answer.authority.encode())
        (named,) = read_certificates(self._authority)
        if named not in authorities:
            raise NotTrusted(f"the controller at {self._place} answered with another authority than the token's")
        certificate, *between = read_certificates(answer.certificate.encode())
        _check_ours(self._place, certificate, public_key)
        facts = verify(certificate, [*authorities, *between], now_s=time.time())
        if (facts.subject.role, facts.subject.name) != (request.kind, answer.name):
            raise NotTrusted(f"the controller at {self._place} answered with a certificate of {facts.subject}")
        return answer


def renewed(place: ControllerPlace, files: TrustFiles) -> RenewAnswer:
    """A program's next certificate, for the key that it has, asked for with the present one.

    Raises:
        ControllerUnreachable: It does not answer.
        EdgesplitError: Why it refused; `NotTrusted` where it is not the controller, or what it answered is not what was asked for.
    """
    credentials, contexts = Credentials.load(files), TlsContexts.load(files)
    contexts.client.check_hostname = True
    request = certificate_request(credentials.key, credentials.subject)
    with _explained(place):
        connection = _Connection(place, contexts.client)
        try:
            answer = _answered(place, connection, RENEW_PATH, RenewRequest(request=request.decode()), RenewAnswer)
        finally:
            connection.close()
    certificate, *between = read_certificates(answer.certificate.encode())
    _check_ours(place, certificate, _public(credentials.certificate))
    facts = verify(certificate, [*credentials.authorities, *between], now_s=time.time())
    if facts.subject != credentials.subject:
        raise NotTrusted(f"the controller at {place} answered with a certificate of {facts.subject}")
    return answer


class _Connection:
    """One TLS connection to whoever is at a place, with requests one after another."""

    def __init__(self, place: ControllerPlace, context: ssl.SSLContext) -> None:
        raw = socket.create_connection((place.host, place.port), timeout=PATIENCE_S)
        try:
            # Its address may be any: certificates of controllers carry this name.
            tls = context.wrap_socket(raw, server_hostname=CONTROLLER_HOST)
        except BaseException:
            raw.close()
            raise
        self.local_host = str(tls.getsockname()[0]).partition("%")[0]
        self._http = http.client.HTTPConnection(CONTROLLER_HOST, timeout=PATIENCE_S)
        self._http.sock = tls
        self._http.auto_open = 0  # a connection that ended is not made again, least of all without TLS

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes, float | None]:
        """Status, body, and the other side's clock where it says so [s since the epoch]."""
        headers = {} if body is None else {"Content-Type": "application/json"}
        self._http.request(method, path, body, headers)
        response = self._http.getresponse()
        content = response.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise http.client.HTTPException("its answer has no end")
        try:
            clock_s = parsedate_to_datetime(response.headers.get("Date", "")).timestamp()
        except ValueError:
            clock_s = None
        return response.status, content, clock_s

    def close(self) -> None:
        """End it."""
        self._http.close()


@contextmanager
def _explained(place: ControllerPlace) -> Generator[None]:
    """Turn what networks and TLS raise into a sentence."""
    whom = f"the controller at {place}"
    try:
        yield
    except ssl.SSLError as error:
        raise NotTrusted(explain_handshake(error, whom)) from error
    except TimeoutError as error:
        raise ControllerUnreachable(
            f"{whom} does not answer within {PATIENCE_S:g} s: is it on, and the port open?"
        ) from error
    except socket.gaierror as error:
        raise ControllerUnreachable(
            f"the host name {place.host} does not resolve here: check it, or write its address"
        ) from error
    except OSError as error:
        raise ControllerUnreachable(f"no controller answers at {place} ({error.strerror or error})") from error
    except http.client.HTTPException as error:
        raise ControllerUnreachable(f"{place} is no controller ({error or type(error).__name__})") from error


def _answered(place: ControllerPlace, connection: _Connection, path: str, asked: msgspec.Struct, kind: type[T]) -> T:
    with _explained(place):
        status, body, _ = connection.ask("POST", path, msgspec.json.encode(asked))
    try:
        if status == http.HTTPStatus.OK:
            return msgspec.json.decode(body, type=kind)
        failure = msgspec.json.decode(body, type=EnrolmentFailure).error
    except msgspec.DecodeError as error:
        raise ControllerUnreachable(f"{place} is no controller that takes this in (HTTP {status})") from error
    raise error_from_code(failure.code, failure.message)


def _check_ours(place: ControllerPlace, certificate: x509.Certificate, public_key: bytes) -> None:
    if _public(certificate) != public_key:
        raise NotTrusted(f"the controller at {place} answered with a certificate for another key")


def _public(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _compare_clocks(place: ControllerPlace, there_s: float | None, clock: Callable[[], float] = time.time) -> None:
    apart_s = 0.0 if there_s is None else clock() - there_s
    if abs(apart_s) > CLOCKS_MAY_DIFFER_S:
        side = "ahead of" if apart_s > 0 else "behind"
        raise NotTrusted(
            f"the clock of this machine is {abs(apart_s):.0f} s {side} that of the controller at {place}: certificates would not be "
            "valid; let both take their time from the network (NTP)"
        )
