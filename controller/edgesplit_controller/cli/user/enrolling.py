"""An operator's certificate: asked for with a join token, and renewed in time by whatever command comes next.

Owns: these two steps on the user's side. Its rule: whom the token names is found out before anything is told, and a certificate that cannot be
renewed yet is no reason for a command to fail. Not here: the exchange (`edgesplit.trust.enrolment_client`), where files lie (`contexts.py`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from edgesplit.errors import EdgesplitError
from edgesplit.trust.credentials import Credentials, certificate_request, key_pem, new_key, read_certificates
from edgesplit.trust.enrolment import JoinAnswer, JoinRequest, JoinToken
from edgesplit.trust.enrolment_client import ControllerPlace, JoinConnection, authority_of, renewed
from edgesplit.trust.files import TrustFiles, write_private
from edgesplit.trust.renewal import Lifetime
from edgesplit.trust.subjects import Subject
from edgesplit_controller.cli.common import warn

__all__ = ["NewOperator", "log_in", "renew_in_time"]


@dataclass(frozen=True)
class NewOperator:
    """What somebody has who was just let in: the controller's answer, and the key that it is for, in PEM form."""

    answer: JoinAnswer
    key: bytes

    @property
    def fleet(self) -> str:
        """Name of the fleet, as its authority has it; empty where that says none."""
        authority, *_ = read_certificates(self.answer.authority.encode())
        named = authority.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return str(named[0].value).removeprefix("edgesplit ") if named else ""

    def write(self, files: TrustFiles) -> Credentials:
        """Write the identity's files, and read what they say."""
        write_private(files.key, self.key)
        write_private(files.certificate, self.answer.certificate.encode())
        write_private(files.authority, self.answer.authority.encode())
        return Credentials.load(files)


def log_in(url: str, token: str) -> NewOperator:
    """Have a token turned into a certificate.

    Raises:
        EdgesplitError: Why not; nothing was written.
    """
    place, parsed = ControllerPlace.parse(url), JoinToken.parse(token)
    authority, key = authority_of(place, parsed), new_key()
    # The token says the name; the request only has to be of the right role.
    request = certificate_request(key, Subject("operator", "new")).decode()
    with JoinConnection(place, authority) as connection:
        asked = JoinRequest(token=token, kind="operator", name="", request=request)
        answer = connection.join(asked, key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    return NewOperator(answer, key_pem(key))


def renew_in_time(folder: Path, url: str) -> None:
    """Renew an operator's certificate once two thirds of its life are over; say so where that does not succeed.

    Args:
        folder: Of the identity.
        url: Base URL of the controller's HTTPS.
    """
    files = TrustFiles.of(folder)
    try:
        certificate = Credentials.load(files).certificate
        lifetime = Lifetime(certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp())
        if time.time() < lifetime.due_s(0.0):
            return
        parts = urlsplit(url)
        answer = renewed(ControllerPlace.parse(f"{parts.scheme}://{parts.netloc}"), files)
        write_private(files.authority, answer.authority.encode())
        write_private(files.certificate, answer.certificate.encode())
    except (EdgesplitError, OSError) as error:
        warn(f"the certificate in {folder} could not be renewed yet ({error})")
