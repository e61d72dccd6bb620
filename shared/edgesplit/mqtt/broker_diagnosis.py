"""Why an MQTT connection cannot be made: name resolution, TCP, TLS, credentials, told apart.

Owns: one attempt of its own beside the real connection, and the sentence that follows from how it ends. Its rule: it
sends nothing but a TLS greeting and an MQTT CONNECT of a random client that leaves at once. Not here: retrying.

References: MQTT Version 3.1.1, OASIS Standard, 2014, sections 3.1 (CONNECT) and 3.2 (CONNACK).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import ssl
import threading
from dataclasses import replace

from edgesplit.errors import InvalidConfiguration
from edgesplit.mqtt.broker_address import TLS_PORT, BrokerAddress

__all__ = ["DIAGNOSE_EVERY_S", "DIAGNOSE_TIMEOUT_S", "explain_no_connection"]

ALERT_S = 0.5
"""For the alert of a broker that refuses the certificate shown to it: more than a round trip. [s]"""
DIAGNOSE_TIMEOUT_S = 3.0
DIAGNOSE_EVERY_S = 10.0
"""Pause between two looks at why there is no connection; the first comes at once. [s]"""
_EXPIRED, _NOT_YET_VALID, _WRONG_NAME, _WRONG_ADDRESS = 10, 9, 62, 64
"""X509_V_ERR_…: OpenSSL's verification codes, which ssl.SSLCertVerificationError carries."""
_UNTRUSTED = {2, 18, 19, 20, 21, 27}
"""No issuer found, self-signed, a chain that ends nowhere, not trusted for this."""
_CONNACK = 0x20
_TLS_RECORD_TYPES = {0x15, 0x16}
"""Alert and handshake: what a TLS server says to a client that does not greet in TLS."""
_DISCONNECT = b"\xe0\x00"


def explain_no_connection(address: BrokerAddress, timeout_s: float, elsewhere: str) -> str:
    """Try once and say what stands in the way, in one sentence; blocking, so for a thread.

    Args:
        address: The broker.
        timeout_s: For each of its few steps. [s]
        elsewhere: Where another broker would be named, for a sentence that says to.

    Returns:
        The sentence, or "" where nothing stands in the way now.
    """
    if not _is_looked_up(address.host, timeout_s):
        return (
            f"this machine's name server does not answer for the broker's host name {address.host!r}: see whether it can be reached, "
            "or name the broker by its address"
        )
    try:
        with _connected(address, timeout_s) as plain:
            return _say_hello(address, plain, timeout_s) if not address.tls else _greet(address, plain, timeout_s)
    except socket.gaierror as error:
        return (
            f"the broker's host name {address.host!r} does not resolve ({(error.strerror or str(error)).lower()}): "
            "correct it, or see whether this machine's name server answers"
        )
    except TimeoutError:
        return _away(address, "nothing answers in time, not even a refusal", elsewhere)
    except OSError as error:
        return _away(
            address, os.strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error), elsewhere
        )


def _is_looked_up(host: str, timeout_s: float) -> bool:
    """Whether a name is resolved in time, or known not to exist; a name server that is away keeps whoever asks for half a minute."""
    asked = threading.Thread(target=_look_up, args=(host,), name="look-up", daemon=True)
    asked.start()
    asked.join(timeout_s)
    return not asked.is_alive()


def _look_up(host: str) -> None:
    with contextlib.suppress(OSError, UnicodeError):
        socket.getaddrinfo(host, None)


def _greet(address: BrokerAddress, plain: socket.socket, timeout_s: float) -> str:
    """Begin TLS on an open connection, then introduce oneself."""
    try:
        with address.tls_context().wrap_socket(plain, server_hostname=address.host) as encrypted:
            return _say_hello(address, encrypted, timeout_s)
    except InvalidConfiguration as error:
        return str(error)
    except ssl.SSLCertVerificationError as error:
        return _untrusted(address, error)
    except OSError as error:
        return _no_tls(address, error, timeout_s)


def _connected(address: BrokerAddress, timeout_s: float) -> socket.socket:
    return socket.create_connection((address.host, address.port), timeout=timeout_s)


def _away(address: BrokerAddress, cause: str, elsewhere: str) -> str:
    return f"no MQTT broker answers at {address} ({cause}): start it, or name another {elsewhere}"


def _say_hello(address: BrokerAddress, connection: socket.socket, timeout_s: float) -> str:
    """Introduce oneself as an MQTT client and judge the answer."""
    try:
        if address.tls:
            _hear_alert(connection)
        connection.sendall(_connect_packet(address))
        answer = _received(connection)
    except TimeoutError:
        return f"something accepts connections at {address} and does not answer as an MQTT broker does: check the port"
    except OSError as error:
        if isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or ""):
            return _refused_certificate(address, error)
        answer = b""  # closed, which TLS calls a violation of the protocol
    if len(answer) == 4 and answer[0] == _CONNACK:
        with contextlib.suppress(OSError):
            connection.sendall(_DISCONNECT)
        return _refusal(address, answer[3])
    return _no_mqtt(address, answer, timeout_s)


def _hear_alert(connection: socket.socket) -> None:
    """Have a refusal of this side's certificate raised.

    In TLS 1.3 a server judges it after the greeting is over for this side; bytes that come once it has closed have the system throw its
    alert away unread. Who accepts the certificate says nothing before it was introduced to.
    """
    limit_s = connection.gettimeout()
    connection.settimeout(ALERT_S)
    with contextlib.suppress(TimeoutError):
        connection.recv(1)
    connection.settimeout(limit_s)


def _no_mqtt(address: BrokerAddress, answer: bytes, timeout_s: float) -> str:
    """Something other than an MQTT broker's answer came, or nothing before the other side closed."""
    if not address.tls and ((answer[:1] and answer[0] in _TLS_RECORD_TYPES) or _speaks_tls(address, timeout_s)):
        return f"the broker at {address} speaks TLS: write mqtts:// instead of mqtt://"
    if not answer and address.tls and not address.files.cert_file:
        # With TLS 1.3 a server learns only after its greeting that a client has no certificate.
        return (
            f"the broker at {address} closes encrypted connections without a word: it probably wants a certificate "
            "of this program (set [broker] cert_file and key_file); its log says"
        )
    if not answer:
        return f"the broker at {address} closes connections without a word: see its log for the reason"
    return f"what answers at {address} is no MQTT broker: check host and port"


def _received(connection: socket.socket) -> bytes:
    """The four bytes of a CONNACK, or what there is of them before the other side closes."""
    answer = b""
    while len(answer) < 4 and (more := connection.recv(4 - len(answer))):
        answer += more
    return answer


def _connect_packet(address: BrokerAddress) -> bytes:
    """CONNECT of protocol level 4 with a clean session, MQTT 3.1.1 section 3.1."""

    def text(value: str) -> bytes:
        raw = value.encode()
        return len(raw).to_bytes(2, "big") + raw

    flags, payload = 0x02, text(f"edgesplit-check-{secrets.token_hex(4)}")
    if address.user is not None:
        flags |= 0x80
        payload += text(address.user)
        if address.password is not None:
            flags |= 0x40
            payload += text(address.password)
    body = text("MQTT") + bytes((4, flags)) + (10).to_bytes(2, "big") + payload
    remaining, length = len(body), b""
    while True:
        remaining, digit = divmod(remaining, 128)
        length += bytes((digit | (0x80 if remaining else 0),))
        if not remaining:
            return b"\x10" + length + body


def _refusal(address: BrokerAddress, code: int) -> str:
    """What a CONNACK return code means, MQTT 3.1.1 table 3.1."""
    if code == 0:
        return ""
    if code in {4, 5}:
        given = "its password is wrong, or it may not connect" if address.user is not None else "it wants a password"
        return (
            f"the broker at {address} refuses {address.who}: {given} "
            "(the URL is mqtt://user:password@host, with special characters percent-encoded)"
        )
    causes = {
        1: "it does not speak MQTT 3.1.1",
        2: "it does not accept the client identifier",
        3: "it says that it is not available now",
    }
    return f"the broker at {address} refuses the connection: {causes.get(code, f'return code {code}')}"


def _untrusted(address: BrokerAddress, error: ssl.SSLCertVerificationError) -> str:
    """A certificate that does not convince, by reason."""
    code, expected = error.verify_code, address.files.server_name or address.host
    if code == _EXPIRED:
        return f"the certificate of the broker at {address} has expired: renew it, or set this machine's clock right"
    if code == _NOT_YET_VALID:
        return f"the certificate of the broker at {address} is not valid yet: is this machine's clock right?"
    if code in {_WRONG_NAME, _WRONG_ADDRESS}:
        return (
            f"the certificate of the broker at {address} is for another name than {expected!r}: connect under a name "
            "that it holds, or set [broker] server_name"
        )
    if code in _UNTRUSTED:
        whom = f"the authorities in {address.files.ca_file}" if address.files.ca_file else "this machine's authorities"
        return (
            f"the certificate of the broker at {address} is signed by nobody that is trusted here ({whom}): "
            "set [broker] ca_file to the certificate of the authority that signed it"
        )
    return f"the certificate of the broker at {address} is refused: {error.verify_message}"


def _no_tls(address: BrokerAddress, error: OSError, timeout_s: float) -> str:
    """The TLS greeting did not come to its end, though the certificate (if any was seen) is not to blame."""
    if isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or ""):
        return _refused_certificate(address, error)
    with contextlib.suppress(OSError), _connected(address, timeout_s) as plain:
        plain.sendall(_connect_packet(replace(address, user=None, password=None)))
        answer = _received(plain)
        if len(answer) == 4 and answer[0] == _CONNACK:
            return (
                f"the broker at {address} does not speak TLS: name its port for TLS (usually {TLS_PORT}), "
                "or write mqtt:// instead of mqtts://"
            )
    if isinstance(error, TimeoutError):
        return f"something accepts connections at {address} and does not answer in TLS: check the port"
    return f"what answers at {address} does not speak TLS: check host and port"


def _refused_certificate(address: BrokerAddress, error: ssl.SSLError) -> str:
    """The broker ended the TLS connection with an alert."""
    said = (error.reason or str(error)).lower().replace("_", " ")
    if any(word in said for word in ("certificate", "unknown ca", "decrypt error", "handshake failure")):
        what = "does not accept this program's certificate" if address.files.cert_file else "wants a certificate"
        # OpenSSL calls one that is not valid yet bad.
        early_or_late = "expired" in said or "bad certificate" in said
        clock = "compare the clock here with the broker's, or " if address.files.cert_file and early_or_late else ""
        return (
            f"the broker at {address} {what} ({said}): {clock}set [broker] cert_file and key_file to one that its "
            "authority signed"
        )
    return f"the broker at {address} ends the TLS greeting ({said}): see its log for the reason"


def _speaks_tls(address: BrokerAddress, timeout_s: float) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # only whether a TLS greeting is answered; nothing is sent in it
    try:
        with (
            _connected(address, timeout_s) as plain,
            context.wrap_socket(plain, server_hostname=address.host) as encrypted,
        ):
            return encrypted.version() is not None
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")
    except OSError:
        return False
