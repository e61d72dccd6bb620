"""Errors of the protocol: a status and a JSON document with the key `error`.

Owns: which condition becomes which status. Its rule: the sentence is the error's own; `code` beside it is for programs.
Not here: raising them.
"""

from __future__ import annotations

import msgspec

from edgesplit.errors import (
    EdgesplitError,
    FrameTooLarge,
    InvalidInput,
    NotDeployed,
    NotTrusted,
    Overloaded,
    RequestTimedOut,
    UnknownModel,
    Unreachable,
)
from edgesplit.trust.access import RoleNotGranted
from edgesplit.trust.tokens import ModelNotGranted

__all__ = ["BodyTooLarge", "BodyTooSlow", "failure_document", "status_of"]


class BodyTooLarge(FrameTooLarge):
    """A request's body, or a tensor in it, is larger than this node accepts."""


class BodyTooSlow(RequestTimedOut):
    """A request's body came too slowly to wait for the rest."""


_STATUS: tuple[tuple[type[EdgesplitError], int], ...] = (
    (BodyTooSlow, 408),
    (BodyTooLarge, 413),
    (FrameTooLarge, 413),
    (InvalidInput, 400),
    (RoleNotGranted, 403),
    (ModelNotGranted, 403),
    (NotTrusted, 401),
    (UnknownModel, 404),
    (NotDeployed, 503),
    (Overloaded, 429),
    (RequestTimedOut, 504),
    (Unreachable, 503),
)
"""The first that fits; anything else is 500."""


def status_of(error: EdgesplitError) -> int:
    """The HTTP status that tells a client what to do: correct (4xx), slow down (429), try again (5xx)."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def failure_document(error: EdgesplitError) -> bytes:
    """The JSON body of an error."""
    return msgspec.json.encode({"error": str(error), "code": error.code})
