"""A fleet of a test: an authority, and what each of its nodes, operators and clients holds."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

from edgesplit.trust.access import Access
from edgesplit.trust.credentials import facts_of, read_certificates
from edgesplit.trust.files import TrustFiles
from edgesplit.trust.subjects import Role, Subject
from edgesplit.trust.tls import TlsContexts
from tests.trust.authorities import MadeAuthority


class MadeFleet:
    """An authority and its certificates, made when they are asked for.

    Args:
        folder: Where files lie.
    """

    def __init__(self, folder: Path) -> None:
        self.authority = MadeAuthority()
        self._folder = folder
        self._contexts: dict[str, TlsContexts] = {}

    def files(self, role: Role, name: str, *, ends: timedelta = timedelta(days=30)) -> TrustFiles:
        """A new identity."""
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        return self.authority.files(folder, uri=Subject(role, name).uri, begins=-timedelta(days=60), ends=ends)

    def contexts(self, role: Role, name: str) -> TlsContexts:
        """The TLS of somebody; the same each time."""
        subject = str(Subject(role, name))
        if subject not in self._contexts:
            self._contexts[subject] = TlsContexts.load(self.files(role, name))
        return self._contexts[subject]

    def serial(self, role: Role, name: str) -> str:
        """Of the certificate that somebody shows."""
        (certificate,) = read_certificates(self.contexts(role, name).files.certificate.read_bytes())
        return facts_of(certificate).serial

    def node(self, name: str, **options: Any) -> Access:
        """Whom a node of that name lets in."""
        return Access(self.contexts("node", name), **options)
