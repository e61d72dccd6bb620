"""The installed release of edgesplit, as messages, logs and metrics name it.

Owns: looking its version up. Its rule: asked from the package's metadata, where the version stands once. Not here: the
version of the protocol (`control/messages.py`).
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

__all__ = ["installed_version"]


def installed_version() -> str:
    """Version of the installed package; `unknown` where it runs from a plain folder."""
    try:
        return version("edgesplit")
    except PackageNotFoundError:
        return "unknown"
