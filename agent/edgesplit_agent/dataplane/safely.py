"""Calls into the agent's handler that cannot harm the data plane.

Owns: `guarded`. Its rule: an exception out of a handler is logged with its traceback and goes no further. Not here:
errors of the protocol, which close a connection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec

import structlog

__all__ = ["guarded"]

P = ParamSpec("P")
_log = structlog.get_logger(part="dataplane")


def guarded(callback: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    """Call `callback`; log what it raises."""
    try:
        callback(*args, **kwargs)
    except Exception:
        _log.exception("handler-failed", callback=getattr(callback, "__name__", repr(callback)))
