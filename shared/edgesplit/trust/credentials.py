"""A program's key and certificate: making, asking for, reading, judging.

Owns: keys (P-256, which every TLS library takes), certificate requests, what a certificate says, and whether an authority issued it.
Its rule: a key never leaves the machine on which it was made, and is never part of a message or a log. Not here: issuing (the controller's
`trust`), files (`trust/files.py`), TLS (`trust/tls.py`). Imports `cryptography`, which clients do not need.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edgesplit.errors import InvalidConfiguration, NotTrusted
from edgesplit.trust.files import TrustFiles, write_private
from edgesplit.trust.subjects import PeerCertificate, Subject, normal_serial, subject_of

__all__ = [
    "Credentials",
    "authority_digest",
    "certificate_request",
    "facts_of",
    "new_key",
    "read_certificates",
    "verify",
]


@dataclass(frozen=True)
class Credentials:
    """Who a program is, and the proof.

    Attributes:
        certificate: Its own.
        authorities: Who may have issued others'.
    """

    subject: Subject
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    authorities: tuple[x509.Certificate, ...]

    @classmethod
    def load(cls, files: TrustFiles) -> Credentials:
        """Read a folder of files.

        Raises:
            InvalidConfiguration: A file is missing, holds something else, or the certificate speaks for nobody.
        """
        try:
            key = serialization.load_pem_private_key(_read(files.key), password=None)
        except (ValueError, TypeError) as error:
            raise InvalidConfiguration(f"{files.key} does not hold an unencrypted private key in PEM form") from error
        certificate, *_ = read_certificates(_read(files.certificate))
        subject = _subject(certificate)
        if subject is None or not isinstance(key, ec.EllipticCurvePrivateKey):
            raise InvalidConfiguration(
                f"{files.certificate} must name a role (edgesplit://ROLE/NAME as a URI, or ROLE:NAME as common name) "
                "and have a key on an elliptic curve"
            )
        return cls(subject, key, certificate, tuple(read_certificates(_read(files.authority))))

    @property
    def facts(self) -> PeerCertificate:
        """What the certificate says."""
        return facts_of(self.certificate)


def new_key(path_of: TrustFiles | None = None) -> ec.EllipticCurvePrivateKey:
    """A new private key; written to its file where there is one."""
    key = ec.generate_private_key(ec.SECP256R1())
    if path_of is not None:
        write_private(path_of.key, key_pem(key))
    return key


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A key as its file has it."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def certificate_request(key: ec.EllipticCurvePrivateKey, subject: Subject) -> bytes:
    """A PKCS#10 request in PEM form, signed with the key that it is for."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject.common_name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM)


def read_certificates(pem: bytes) -> list[x509.Certificate]:
    """The certificates of a PEM file, in their order.

    Raises:
        InvalidConfiguration: There is none.
    """
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise InvalidConfiguration(f"no certificate in PEM form ({error})") from error


def authority_digest(certificate: x509.Certificate) -> str:
    """SHA-256 of a certificate, in hexadecimal: what an authority is known by."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def facts_of(certificate: x509.Certificate) -> PeerCertificate:
    """Whom a certificate speaks for, its serial number and end.

    Raises:
        NotTrusted: It speaks for nobody.
    """
    subject = _subject(certificate)
    if subject is None:
        raise NotTrusted("the certificate names no role and name, so that it speaks for nobody here")
    serial = normal_serial(f"{certificate.serial_number:x}")
    return PeerCertificate(subject, serial, certificate.not_valid_after_utc.timestamp())


def verify(certificate: x509.Certificate, authorities: Sequence[x509.Certificate], *, now_s: float) -> PeerCertificate:
    """What a certificate says, once it is found good.

    Args:
        certificate: Whose issuer must be one of `authorities`.
        authorities: Root and intermediate ones alike.
        now_s: Since the epoch. [s]

    Raises:
        NotTrusted: Nobody of them issued it, it speaks for nobody, or is not valid at this time.
    """
    if not any(_issued(certificate, authority) for authority in authorities):
        raise NotTrusted("the certificate is of another authority")
    now = datetime.fromtimestamp(now_s, UTC)
    facts = facts_of(certificate)
    if now < certificate.not_valid_before_utc:
        raise NotTrusted(f"the certificate of {facts.subject} is not valid yet: compare the clocks of both machines")
    if now > certificate.not_valid_after_utc:
        raise NotTrusted(f"the certificate of {facts.subject} has expired: compare the clocks of both machines")
    return facts


def _issued(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _subject(certificate: x509.Certificate) -> Subject | None:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        uris = extension.value.get_values_for_type(x509.UniformResourceIdentifier)
    except x509.ExtensionNotFound:
        uris = []
    common_names = [str(entry.value) for entry in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return subject_of(uris, common_names)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidConfiguration(f"{path} cannot be read: {error.strerror or error}") from error
