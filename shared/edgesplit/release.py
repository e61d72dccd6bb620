"""The installed release of edgesplit, and the version of the protocol that it speaks.

Its rule: the release is asked from the package's metadata, where its version stands once.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

__all__ = ["PROTOCOL", "installed_version"]

PROTOCOL = 1
"""Version of control messages and frames together; peers that differ say so and part."""


def installed_version() -> str:
    """Version of the installed package; `unknown` where it runs from a plain folder."""
    try:
        return version("edgesplit")
    except PackageNotFoundError:
        return "unknown"
