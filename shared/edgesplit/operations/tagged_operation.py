"""The form of an operation on the wire: one key says which it is."""

from __future__ import annotations

import msgspec

__all__ = ["TaggedOperation"]


class TaggedOperation(msgspec.Struct, frozen=True, kw_only=True, tag_field="op"):
    """Base of operations; the tag `op` is the class's name in kebab case."""
