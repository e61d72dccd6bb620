"""The folder of a program's identity: whom it trusts, who it is, its key.

Owns: the three files' names, and that a key is readable by its owner alone from the moment it is there. Its rule: a file is
replaced whole. Not here: what is in them (`trust/credentials.py`), TLS (`trust/tls.py`).
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

__all__ = ["TrustFiles", "write_private"]

PRIVATE = 0o600


@dataclass(frozen=True)
class TrustFiles:
    """PEM files in one folder.

    Attributes:
        authority: Certificates of those who may sign others'.
        certificate: This program's, and those between it and the authority, if any.
        key: Its private key.
    """

    authority: Path
    certificate: Path
    key: Path

    @classmethod
    def of(cls, folder: Path) -> TrustFiles:
        """The files as edgesplit names them."""
        return cls(folder / "authority.pem", folder / "certificate.pem", folder / "key.pem")

    @property
    def complete(self) -> bool:
        """Whether all three are there."""
        return self.authority.is_file() and self.certificate.is_file() and self.key.is_file()


def write_private(path: Path, content: bytes) -> None:
    """Write a file that its owner alone may read, whole or not at all.

    Raises:
        OSError: It cannot be written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")  # made with 0600
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(PRIVATE)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
