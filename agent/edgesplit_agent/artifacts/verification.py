"""Verification of blobs: bytes count once they hash to the blob's name (SHA-256).

Owns: the step from a download to a blob that sessions may use. Its rule: whoever sent it, and however it came. Not here:
downloads, and what follows for a source whose bytes are wrong (`cache.py`).
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from edgesplit.errors import ArtifactCorrupt

__all__ = ["adopt_verified"]


def adopt_verified(partial: Path, path: Path, digest: str) -> Path:
    """Give a complete download its final name, once its bytes are what they should be.

    Raises:
        ArtifactCorrupt: They are not.
    """
    with partial.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    if actual != digest:
        raise ArtifactCorrupt(f"blob {digest[:12]} arrived with other bytes than its name says ({actual[:12]})")
    partial.replace(path)
    return path
