"""What a port says to those who speak no TLS 1.3: a script that runs where another machine or container stands, and how it is judged.

Its rule: standard library alone. Not here: which ports there are.
"""

from __future__ import annotations

import json

__all__ = ["PROBE", "takes_tls_alone"]

PROBE = """
import json, socket, ssl, sys
where = (sys.argv[1], int(sys.argv[2]))
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
with socket.create_connection(where, 10) as raw, context.wrap_socket(raw) as secured:
    version = secured.version()
context.maximum_version = ssl.TLSVersion.TLSv1_2
try:
    with socket.create_connection(where, 10) as raw, context.wrap_socket(raw) as secured:
        older = secured.version()
except OSError:
    older = ""
http = b"GET /metrics HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n"
mqtt = bytes.fromhex("101000044d5154540402003c000474657374")
heard, open_ = [], 0
for sent in (http, mqtt):
    with socket.create_connection(where, 15) as raw:
        raw.sendall(sent)
        got = b""
        try:
            while chunk := raw.recv(4096):
                got += chunk
        except ConnectionError:
            pass
        except TimeoutError:
            open_ += 1
    heard.append(got.hex())
print(json.dumps({"version": version, "older": older, "heard": heard, "open": open_}))
"""
"""Arguments: host and port. TLS 1.3 without a certificate, TLS 1.2, then HTTP and MQTT (CONNECT) in the clear."""
_ACCEPTED = (b"HTTP/1.1 200", b"\x20\x02\x00\x00")
"""Beginnings of answers that let somebody in; the second is MQTT's CONNACK."""


def takes_tls_alone(said: str) -> bool:
    """Whether the script found a port that speaks TLS 1.3 and ended all other connections without serving them."""
    found = json.loads(said)
    served = [answer for answer in map(bytes.fromhex, found["heard"]) if answer.startswith(_ACCEPTED)]
    return found["version"] == "TLSv1.3" and found["older"] == "" and not served and found["open"] == 0
