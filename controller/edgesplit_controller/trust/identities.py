"""Identities made where the authority is: of the controller, the broker and the first operator.

Owns: their folders, and the founding of a fleet. Its rule: a fleet is founded once; whoever else belongs to it joins. Not here: what a
certificate says (`trust/authority.py`), the broker's settings (`trust/broker_files.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgesplit.errors import InvalidConfiguration
from edgesplit.trust.credentials import certificate_request, key_pem, new_key
from edgesplit.trust.files import TrustFiles, write_private
from edgesplit.trust.subjects import Role, Subject
from edgesplit_controller.trust.authority import CERTIFICATE_DAYS, Authority, checked_subject
from edgesplit_controller.trust.trust_record import TrustRecord

__all__ = ["BROKER_DAYS", "BROKER_FOLDER", "Founded", "found_fleet", "make_identity"]

BROKER_DAYS = 730
"""A broker takes a new certificate only when somebody restarts it or tells it to read its files."""
BROKER_FOLDER = "broker"
"""In the controller's folder of trust: the broker's identity, which its own machine gets a copy of."""
_DAYS: dict[Role, int] = {"broker": BROKER_DAYS}


@dataclass(frozen=True)
class Founded:
    """A fleet that has just been founded.

    Attributes:
        controller: Files of the controller's identity.
        broker: Of the broker's.
        operator: Of the first operator's.
    """

    authority: Authority
    controller: TrustFiles
    broker: TrustFiles
    operator: TrustFiles


def found_fleet(
    folder: Path,
    name: str,
    *,
    controller_addresses: Sequence[str],
    broker_addresses: Sequence[str],
    operator: str,
    operator_folder: Path,
    now_s: float,
) -> Founded:
    """Make an authority and the identities without which nobody could join.

    Args:
        folder: The controller's, of trust.
        name: Of the fleet; its controller's and broker's too.
        controller_addresses: Hosts and IP addresses of the controller, for tools that compare one.
        broker_addresses: Of the broker.
        operator: Name of the first operator.
        operator_folder: For that one's identity.
        now_s: Since the epoch. [s]

    Raises:
        InvalidConfiguration: There is a fleet in one of the folders already, or it cannot be written.
        InvalidInput: A name or address cannot be in a certificate.
    """
    identities: tuple[tuple[Subject, Path, Sequence[str]], ...] = (
        (Subject("controller", name), folder, controller_addresses),
        (Subject("broker", name), folder / BROKER_FOLDER, broker_addresses),
        (Subject("operator", operator), operator_folder, ()),
    )
    for subject, _, addresses in identities:
        checked_subject(subject, addresses)
    for there in (TrustFiles.of(folder), TrustFiles.of(operator_folder)):
        if there.certificate.exists() or there.key.exists():
            raise InvalidConfiguration(f"{there.certificate.parent} holds an identity already: name another folder")
    authority = Authority.create(folder, name, now_s=now_s)
    record = TrustRecord(folder)
    made = [
        make_identity(authority, record, subject, where, addresses=addresses, now_s=now_s)
        for subject, where, addresses in identities
    ]
    return Founded(authority, *made)


def make_identity(
    authority: Authority,
    record: TrustRecord,
    subject: Subject,
    folder: Path,
    *,
    addresses: Sequence[str] = (),
    now_s: float,
) -> TrustFiles:
    """Write the files of an identity, with a new key.

    Raises:
        InvalidConfiguration: The folder cannot be written, or the authority's key is not here.
        InvalidInput: The subject or an address cannot be in a certificate.
    """
    files = TrustFiles.of(folder)
    key = new_key()
    request = certificate_request(key, subject).decode()
    days = _DAYS.get(subject.role, CERTIFICATE_DAYS)
    issued = authority.issue(subject, request, now_s=now_s, addresses=addresses, days=days)
    try:
        record.issued(issued.facts, now_s=now_s, addresses=addresses)
        write_private(files.key, key_pem(key))
        write_private(files.certificate, issued.certificate)
        write_private(files.authority, authority.pem)
    except OSError as error:
        raise InvalidConfiguration(f"{folder} cannot be written: {error.strerror or error}") from error
    return files
