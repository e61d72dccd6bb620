"""A controller's enrolment over HTTPS, made of the standard library: not of the code that is tried with it."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.trust.authorities import DAY, MadeAuthority

CONTROLLER_NAME = "controller.edgesplit.internal"
BROKER = "mqtts://192.0.2.11:8883"


class FakeController:
    """Listens on loopback; a context manager.

    Attributes:
        names: What unused tokens are for.
        heard: Bodies of all POSTs.
        refusal: Status, code and sentence that every POST gets, where set.
        life: Of certificates that are given out: begin and end from now.
        shown: The authority that is shown to strangers; its own unless set.
        subject: Overrides whom a certificate is for.
        date: Overrides the Date header.
    """

    def __init__(
        self, folder: Path, authority: MadeAuthority, *, begins: timedelta = -DAY, ends: timedelta = 30 * DAY
    ) -> None:
        self.authority = authority
        self.names: dict[str, str] = {}
        self.heard: list[dict[str, Any]] = []
        self.refusal: tuple[int, str, str] | None = None
        self.life = (-DAY, 30 * DAY)
        self.shown = authority.pem
        self.subject = ""
        self.date = ""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = issue(
            authority, key.public_key(), "edgesplit://controller/main", (begins, ends), dns=(CONTROLLER_NAME,)
        )
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "certificate.pem").write_bytes(certificate)
        (folder / "key.pem").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
        context.load_verify_locations(cadata=authority.pem.decode())
        context.verify_mode = ssl.CERT_OPTIONAL
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> FakeController:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """As the join command has it."""
        return f"https://127.0.0.1:{self._server.server_address[1]}"

    def token(self, name: str, authority: MadeAuthority | None = None) -> str:
        """A new one, of this fleet's authority unless another is given."""
        digest = (authority or self.authority).certificate.fingerprint(hashes.SHA256())
        token = "esj_" + base64.urlsafe_b64encode(digest + len(self.names).to_bytes(16, "big")).decode()
        self.names[token] = name
        return token

    def answer(self, path: str, body: dict[str, Any], peer: str | None) -> tuple[int, dict[str, Any]]:
        """Status and document of a POST."""
        self.heard.append(body)
        if self.refusal is not None:
            status, code, text = self.refusal
            return status, {"error": {"code": code, "message": text}}
        request = x509.load_pem_x509_csr(body["request"].encode())
        key = request.public_key()
        assert request.is_signature_valid
        assert isinstance(key, ec.EllipticCurvePublicKey)
        if path == "/trust/renew":
            if peer is None:
                return 403, {"error": {"code": "not-trusted", "message": "a certificate is needed"}}
            given = issue(self.authority, key, self.subject or peer, self.life)
            return 200, {"certificate": given.decode(), "authority": self.authority.pem.decode()}
        name = self.names.pop(body["token"], None)
        if name is None:
            return 401, {"error": {"code": "not-trusted", "message": "the token was used already, or has expired"}}
        if body["name"] not in {"", name}:
            return 409, {"error": {"code": "name-taken", "message": f"the token is for {name}"}}
        uri = self.subject or f"edgesplit://node/{name}"
        given = issue(self.authority, key, uri, self.life, addresses=tuple(body["addresses"]))
        return 200, {
            "certificate": given.decode(),
            "authority": self.authority.pem.decode(),
            "broker": BROKER,
            "name": name,
        }


def issue(
    authority: MadeAuthority,
    key: ec.EllipticCurvePublicKey,
    uri: str,
    life: tuple[timedelta, timedelta],
    *,
    dns: tuple[str, ...] = (),
    addresses: tuple[str, ...] = (),
) -> bytes:
    """A certificate in PEM form."""
    now = datetime.now(UTC)
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri), *(x509.DNSName(name) for name in dns)]
    names += [x509.IPAddress(ip_address(address)) for address in addresses]
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody")]))
        .issuer_name(authority.certificate.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + life[0])
        .not_valid_after(now + life[1])
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
    )
    return builder.sign(authority.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _handler(controller: FakeController) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            found = self.path == "/trust/authority"
            self._send(200 if found else 404, controller.shown if found else b"no such page")

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            connection = self.connection
            assert isinstance(connection, ssl.SSLSocket)
            names = (connection.getpeercert() or {}).get("subjectAltName", ())
            peer = next((str(pair[1]) for pair in names if pair[0] == "URI"), None)
            status, document = controller.answer(self.path, body, peer)
            self._send(status, json.dumps(document).encode())

        def date_time_string(self, timestamp: float | None = None) -> str:
            return controller.date or super().date_time_string(timestamp)

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nobody reads it."""

    return Handler
