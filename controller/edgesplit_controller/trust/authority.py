"""The certificate authority of a fleet: an X.509 root that signs certificates for its programs.

Owns: making it, its two files, and what is in a certificate. Its rule: the private key never leaves its file, and a certificate says no
more than what its subject may be called: names that programs of other roles are known by are given to nobody else. Not here: who gets
one (`trust/enrolments.py`), which there are (`trust/trust_record.py`).

References: RFC 5280, sections 4.2.1.3, 4.2.1.6, 4.2.1.9 and 4.2.1.12.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edgesplit.errors import InvalidConfiguration, InvalidInput
from edgesplit.names import checked_name
from edgesplit.trust.credentials import authority_digest, key_pem, new_key, read_certificates
from edgesplit.trust.files import TrustFiles, write_private
from edgesplit.trust.subjects import (
    BROKER_HOST,
    CONTROLLER_HOST,
    PeerCertificate,
    Role,
    Subject,
    normal_serial,
    subject_of,
)

__all__ = ["AUTHORITY_KEY", "CERTIFICATE_DAYS", "Authority", "Issued", "checked_subject"]

AUTHORITY_KEY = "authority-key.pem"
"""Beside authority.pem, where the fleet's authority is; whoever has it is the fleet."""
AUTHORITY_DAYS = 3650
CERTIFICATE_DAYS = 30
CLOCKS_APART = timedelta(minutes=5)
"""A certificate holds since so long before it was made: the clock of whoever gets it may be behind."""
MOST_ADDRESSES = 16

_HOSTS: dict[Role, str] = {"controller": CONTROLLER_HOST, "broker": BROKER_HOST}
_RESERVED = re.compile(r"(.*\.)?(localhost|edgesplit\.internal)\.?", re.IGNORECASE)
_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*")
Address = IPv4Address | IPv6Address


@dataclass(frozen=True)
class Issued:
    """A certificate that was just made."""

    facts: PeerCertificate
    certificate: bytes
    """In PEM form."""


class Authority:
    """One fleet's.

    Args:
        certificate: Its own.
        key: None where the fleet's authority is elsewhere.
        files: Where its certificates' holders find it, for sentences.
    """

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey | None, files: Path) -> None:
        self._certificate = certificate
        self._key = key
        self._folder = files

    @classmethod
    def create(cls, folder: Path, name: str, *, now_s: float) -> Authority:
        """Make an authority and write its files.

        Args:
            folder: For authority.pem and authority-key.pem; made where it is missing.
            name: Of the fleet, for people.
            now_s: Since the epoch. [s]

        Raises:
            InvalidConfiguration: An authority is there, or the folder cannot be written.
            InvalidInput: That is no name.
        """
        checked_name("fleet", name)
        files = TrustFiles.of(folder)
        for there in (files.authority, folder / AUTHORITY_KEY):
            if there.exists():
                raise InvalidConfiguration(
                    f"{there} is there: what it signed would be worthless if it were replaced; name another folder"
                )
        key = new_key()
        named = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"edgesplit {name}"[:64])])
        begins = datetime.fromtimestamp(now_s, UTC) - CLOCKS_APART
        certificate = (
            _builder(named, named, key.public_key(), begins, begins + timedelta(days=AUTHORITY_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        try:
            write_private(folder / AUTHORITY_KEY, key_pem(key))
            write_private(files.authority, certificate.public_bytes(serialization.Encoding.PEM))
        except OSError as error:
            raise InvalidConfiguration(f"{folder} cannot be written: {error.strerror or error}") from error
        return cls(certificate, key, folder)

    @classmethod
    def load(cls, folder: Path) -> Authority:
        """Read an authority's files; the key may be elsewhere.

        Raises:
            InvalidConfiguration: A file is missing, or holds something else.
        """
        path = folder / AUTHORITY_KEY
        try:
            certificate, *_ = read_certificates(TrustFiles.of(folder).authority.read_bytes())
            key = serialization.load_pem_private_key(path.read_bytes(), password=None) if path.exists() else None
        except OSError as error:
            raise InvalidConfiguration(f"{error.filename} cannot be read: {error.strerror or error}") from error
        except (ValueError, TypeError) as error:
            raise InvalidConfiguration(f"{path} does not hold an unencrypted private key in PEM form") from error
        if key is None:
            return cls(certificate, None, folder)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise InvalidConfiguration(f"{path} is not the key of {TrustFiles.of(folder).authority}")
        return cls(certificate, key, folder)

    @property
    def digest(self) -> str:
        """What it is known by, in hexadecimal."""
        return authority_digest(self._certificate)

    @property
    def pem(self) -> bytes:
        """Its certificate."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def require_key(self) -> ec.EllipticCurvePrivateKey:
        """Its key.

        Raises:
            InvalidConfiguration: It is elsewhere.
        """
        if self._key is None:
            raise InvalidConfiguration(
                f"{self._folder / AUTHORITY_KEY} is not here: certificates of this fleet are issued by an authority elsewhere, "
                "as files (docs/security.md)"
            )
        return self._key

    def issue(
        self,
        subject: Subject,
        request: str,
        *,
        now_s: float,
        addresses: Sequence[str] = (),
        days: float = CERTIFICATE_DAYS,
        user: str = "",
        any_name: bool = False,
    ) -> Issued:
        """A certificate for whoever made a request.

        Args:
            subject: Whom it will speak for.
            request: PKCS#10, in PEM form.
            now_s: Since the epoch. [s]
            addresses: Hosts and IP addresses at which others reach it, for tools that compare one.
            days: How long it holds. [d]
            user: Its common name, by which brokers know its holder; empty: the subject's own.
            any_name: The request may be of any name in the subject's role: its maker does not know its name yet.

        Raises:
            InvalidConfiguration: The authority's key is not here.
            InvalidInput: The request is none, or says another name; an address cannot be in a certificate.
        """
        key = self.require_key()
        checked_subject(subject, addresses)
        public_key = _requested(request, subject, any_name=any_name)
        begins = datetime.fromtimestamp(now_s, UTC) - CLOCKS_APART
        ends = datetime.fromtimestamp(now_s, UTC) + timedelta(days=days)
        names = [x509.UniformResourceIdentifier(subject.uri), *_alternatives(subject, addresses)]
        certificate = (
            _builder(
                x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, user or subject.common_name)]),
                self._certificate.subject,
                public_key,
                begins,
                min(ends, self._certificate.not_valid_after_utc),
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]),
                critical=False,
            )
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        serial = normal_serial(f"{certificate.serial_number:x}")
        facts = PeerCertificate(subject, serial, certificate.not_valid_after_utc.timestamp())
        return Issued(facts, certificate.public_bytes(serialization.Encoding.PEM))


def checked_subject(subject: Subject, addresses: Sequence[str] = ()) -> Subject:
    """Return a subject that a certificate may speak for, with these addresses.

    Raises:
        InvalidInput: Its name is none, too long, or stands for somebody else; an address cannot be in its certificate.
    """
    checked_name(subject.role, subject.name)
    if _RESERVED.fullmatch(subject.name):
        raise InvalidInput(
            f"{subject.name!r} cannot name a {subject.role}: it stands for another machine in certificates"
        )
    try:
        subject.common_name  # noqa: B018 - computing it is the check
    except ValueError as error:
        raise InvalidInput(f"{subject.name!r} cannot name a {subject.role}: {error}") from error
    list(_alternatives(subject, addresses))
    return subject


def _requested(request: str, subject: Subject, *, any_name: bool) -> ec.EllipticCurvePublicKey:
    """The key that a request is for, proven to be its maker's."""
    try:
        read = x509.load_pem_x509_csr(request.encode())
        proven, key = read.is_signature_valid, read.public_key()
    except (ValueError, TypeError) as error:
        raise InvalidInput("what should be a certificate request is none in PEM form") from error
    if not proven:
        raise InvalidInput("the certificate request is not signed with the key that it is for")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise InvalidInput("the certificate request is for a key of another kind than P-256")
    named = [str(entry.value) for entry in read.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    maker = subject_of((), named) if len(named) == 1 else None
    if maker is None or maker.role != subject.role or (maker != subject and not any_name):
        raise InvalidInput(f"the certificate request is of {', '.join(named)[:80] or 'nobody'}, not of {subject}")
    return key


def _alternatives(subject: Subject, addresses: Iterable[str]) -> Iterator[x509.GeneralName]:
    """What hosts a certificate is good for, beside the URI."""
    found: dict[str | Address, None] = {}
    if subject.role in _HOSTS:
        found[_HOSTS[subject.role]] = None
        found["localhost"] = None
        found |= dict.fromkeys((ip_address("127.0.0.1"), ip_address("::1")))
    elif subject.role == "node" and _HOST_NAME.fullmatch(subject.name):
        found[subject.name] = None
    given = [address for address in addresses if subject.role in _HOSTS or not _is_own(address)]
    if len(given) > MOST_ADDRESSES:
        raise InvalidInput(f"a certificate takes at most {MOST_ADDRESSES} addresses, and {len(given)} were given")
    for address in given:
        found[_address(subject, address)] = None
    for name in found:
        yield x509.DNSName(name) if isinstance(name, str) else x509.IPAddress(name)


def _address(subject: Subject, text: str) -> str | Address:
    """An IP address, or a host's name where the authority itself says it."""
    try:
        address = ip_address(text)
    except ValueError:
        if subject.role in _HOSTS and _HOST_NAME.fullmatch(text) and not _RESERVED.fullmatch(text):
            return text
        raise InvalidInput(
            f"{text[:80]!r} cannot stand in a certificate of a {subject.role}: give an IP address"
        ) from None
    return address


def _is_own(text: str) -> bool:
    """Whether an address is that of every machine, or of none, so that it tells nobody apart."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return address.is_loopback or address.is_multicast or address.is_unspecified


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, begins: datetime, ends: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
