"""Signed messages: whoever carries them can stop, but not change, invent or replay them.

Owns: what is signed (the topic, the counter and the very bytes), and the memory of the highest
counter by topic. Its rule: the text inside stays readable; what does not verify is refused with a reason. Not here: which topics
are signed (`mqtt/topic.py`), keys (`trust/credentials.py`), who publishes (`mqtt/bus.py`).

    {"message": {...}, "counter": 1764460000000000, "certificate": "base64 DER", "signature": "base64"}

ECDSA on P-256 with SHA-256 over: "edgesplit/1 signed" 0x00 topic 0x00 counter in decimal 0x00 message.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection
from dataclasses import dataclass

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edgesplit.errors import NotTrusted
from edgesplit.trust.credentials import Credentials, verify
from edgesplit.trust.envelope import Envelope, in_envelope
from edgesplit.trust.subjects import PeerCertificate, Role

__all__ = ["ENVELOPE_BYTES", "Envelope", "SignatureCheck", "SignedMessage", "Signer", "in_envelope"]

ENVELOPE_BYTES = 8 << 10
"""More than an envelope adds to its message, whatever an enterprise's authority writes into certificates. [B]"""
_PREFIX = b"edgesplit/1 signed\0"
_REMEMBERED_CERTIFICATES = 256
_ALGORITHM = ec.ECDSA(hashes.SHA256())


@dataclass(frozen=True)
class SignedMessage:
    """A message whose signature was found good."""

    message: bytes
    counter: int
    signer: PeerCertificate


class Signer:
    """Signs messages as one program.

    Args:
        credentials: Whose; replaced on renewal.
        last_counter: Of an earlier run, where that is remembered.
    """

    def __init__(self, credentials: Credentials, last_counter: int = 0) -> None:
        self.counter = last_counter
        self.take(credentials)

    def take(self, credentials: Credentials) -> None:
        """Sign with a renewed certificate from now on."""
        self._key = credentials.key
        der = credentials.certificate.public_bytes(serialization.Encoding.DER)
        self._certificate = base64.b64encode(der).decode()

    def sign(self, topic: str, message: bytes, *, now_s: float) -> bytes:
        """The envelope of a message on a topic, in JSON."""
        self.counter = max(self.counter + 1, int(now_s * 1e6))
        signature = self._key.sign(_signed(topic, self.counter, message), _ALGORITHM)
        return msgspec.json.encode(
            Envelope(
                message=msgspec.Raw(message),
                counter=self.counter,
                certificate=self._certificate,
                signature=base64.b64encode(signature).decode(),
            )
        )


class SignatureCheck:
    """Judges signed messages.

    Args:
        credentials: Whose authorities are trusted.
    """

    def __init__(self, credentials: Credentials) -> None:
        self._authorities = credentials.authorities
        self._decoder = msgspec.json.Decoder(Envelope)
        self._certificates: dict[str, x509.Certificate] = {}
        self.revoked: Collection[str] = frozenset()
        """Serial numbers that are trusted no more."""

    def opened(self, topic: str, payload: bytes, *, role: Role, now_s: float) -> SignedMessage:
        """The message inside an envelope.

        Args:
            topic: Where it came.
            payload: The envelope, in JSON.
            role: Who alone may have signed it.
            now_s: Since the epoch. [s]

        Raises:
            NotTrusted: It is not signed, or not by such a one, or is another topic's or changed.
        """
        try:
            envelope = self._decoder.decode(payload)
            signature = base64.b64decode(envelope.signature, validate=True)
        except (msgspec.DecodeError, RecursionError, ValueError) as error:  # base64's and Unicode's are ValueErrors
            raise NotTrusted("it is not signed") from error
        certificate = self._certificate(envelope.certificate)
        signer = verify(certificate, self._authorities, now_s=now_s)
        if signer.serial in self.revoked:
            raise NotTrusted(f"the certificate of {signer.subject} was revoked")
        if signer.subject.role != role:
            raise NotTrusted(f"{signer.subject} signed it, and only a {role} may")
        key, message = certificate.public_key(), bytes(envelope.message)
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise NotTrusted("the signer's key is of another kind")
        try:
            key.verify(signature, _signed(topic, envelope.counter, message), _ALGORITHM)
        except InvalidSignature as error:
            raise NotTrusted(f"the signature of {signer.subject} is another message's") from error
        return SignedMessage(message, envelope.counter, signer)

    def _certificate(self, text: str) -> x509.Certificate:
        known = self._certificates.get(text)
        if known is not None:
            return known
        try:
            read = x509.load_der_x509_certificate(base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError) as error:
            raise NotTrusted("what should be the signer's certificate is none") from error
        if len(self._certificates) >= _REMEMBERED_CERTIFICATES:
            self._certificates.clear()  # a sender of many different ones pays for reading them, not we for keeping them
        self._certificates[text] = read
        return read


def _signed(topic: str, counter: int, message: bytes) -> bytes:
    return b"".join((_PREFIX, topic.encode(), b"\0", str(counter).encode(), b"\0", message))
