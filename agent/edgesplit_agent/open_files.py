"""Limit of open files and sockets of the process (RLIMIT_NOFILE).

Owns: one call to the system. Its rule: as many as the limits on connections can need, never more than the administrator's
hard limit. Not here: the limits themselves (`configuration.py`).

The soft limit is 1024 nearly everywhere for the sake of select(2), which nothing here uses; systemd's hard limit is half a
million.
"""

from __future__ import annotations

import resource

__all__ = ["allow_descriptors"]

OTHERS = 768
"""Besides accepted connections: those in the middle of a TLS handshake, peers, blobs that are mapped, sensors, libraries."""


def allow_descriptors(connections: int) -> int:
    """Raise the soft limit where it would not do.

    Args:
        connections: Accepted at a time, at most.

    Returns:
        What the process may have open now.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + OTHERS
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed
