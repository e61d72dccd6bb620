"""Line numbers of keys in a TOML text, for error messages.

Owns: finding the line of a path through tables, arrays of tables and keys. Its rule: it looks only for headings and for keys at
the beginning of a line, as people write them; where it finds nothing it says the line of what encloses it. Not here: TOML's
meaning (`tomllib`).
"""

from __future__ import annotations

import re

__all__ = ["Place", "line_of", "place_of"]

Place = tuple[str | int, ...]
"""Keys and indices from the top."""

_HEADING = re.compile(r"^\s*(\[\[?)\s*([A-Za-z0-9_.\-\"' ]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"^\s*([A-Za-z0-9_-]+)\s*=")
_PART = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")


def place_of(path: str) -> Place:
    """A path as msgspec writes it, such as `$.machine[1].name`."""
    return tuple(name if name else int(index) for name, index in _PART.findall(path.removeprefix("$")))


def line_of(text: str, place: Place) -> int | None:
    """The line, from 1, on which a place is; that of what encloses it where it has none; None where nothing is found."""
    if not place or not isinstance(place[0], str):
        return None
    table = place[0]
    wanted = place[1] if len(place) > 1 and isinstance(place[1], int) else 0
    keys = [part for part in place[1:] if isinstance(part, str)]
    seen, inside, heading = -1, False, None
    for number, line in enumerate(text.splitlines(), start=1):
        if found := _HEADING.match(line):
            name = found[2]
            seen += name == table
            inside = name == table and seen == wanted
            heading = number if inside else heading
        elif inside and keys and (key := _KEY.match(line)) and key[1] == keys[0]:
            return number
    return heading
