"""Text of agent.toml as joining writes it: a new file as a human would write it, or an existing one with few keys changed.

Its rule: pure; comments and all other keys of a file stay, and what cannot be changed so is refused rather than damaged. Not here: what the
keys mean (`configuration.py`), files (`join.py`).
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from typing import Any

from edgesplit.errors import InvalidConfiguration

__all__ = ["MARK", "Changes", "edited", "new_text"]

MARK = "written by edgesplit-agent join"
"""In the first line of a file that joining made."""

Changes = Mapping[tuple[str, str], str | None]
"""Section (empty: above all) and key, to the value that it gets; None: the line goes."""

_HEADER = re.compile(r"\s*\[([^\[\]]+)\]\s*(#.*)?")
_TEXT = """\
# {path}: this machine's agent, {mark}. World-readable: no secrets here.
# `edgesplit-agent --config FILE --print-config` shows what holds and where it comes from. [power] and [emulation] are read again by
# `systemctl reload edgesplit-agent`; the rest needs a restart. `edgesplit-agent leave` undoes it all.

# The machine's name in the fleet: that of its certificate.
name = {name}

[broker]
url = {broker}

[security]
# Only holders of a certificate of the fleet's authority are let in; folder holds this node's, which renews itself.
mode = "fleet"
folder = {folder}

[data]
# Tensors from and to the other machines, over TLS. Open this port between the machines.
listen = "0.0.0.0:7400"
# What the other machines are told; empty: this machine's address towards the broker, found anew when it changes.
advertise = ""

[http]
# Inference requests (docs/http.md), metrics and health, over TLS; other nodes fetch weights here from their nearest peer.
listen = "0.0.0.0:7470"

[power]
# "auto" takes a sensor where one can be read, else these constants: see docs/power.md.
source = "auto"
compute_w = 10.0
transmit_w = 1.0

[runtime]
# Threads that a component may use.
threads = 1
# What components may use together; 0: half of the machine's memory. [B]
memory_limit_bytes = 0
"""


def new_text(path: str, name: str, broker: str, folder: str) -> str:
    """A whole file."""
    texts = {key: json.dumps(value, ensure_ascii=False) for key, value in _named(name, broker, folder).items()}
    return _TEXT.format(path=path, mark=MARK, **texts)


def edited(text: str, changes: Changes) -> str:
    """A file's text with some keys changed.

    Raises:
        InvalidConfiguration: It is not valid TOML, or is written in a way that this cannot change.
    """
    before = _parsed(text)
    lines = text.splitlines()
    for (section, key), value in changes.items():
        lines = _with(lines, section, key, value)
    result = "\n".join(lines) + "\n"
    try:
        right = _without_empty(tomllib.loads(result)) == _without_empty(_changed(before, changes))
    except (tomllib.TOMLDecodeError, TypeError, AttributeError):  # not valid any more, or a section that is none
        right = False
    if not right:
        keys = ", ".join(f"[{section}] {key}" if section else key for section, key in changes)
        raise InvalidConfiguration(
            f"the file is written in a way that joining cannot change: move it away, or set {keys} by hand"
        )
    return result


def _named(name: str, broker: str, folder: str) -> dict[str, str]:
    return {"name": name, "broker": broker, "folder": folder}


def _parsed(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidConfiguration(f"it is not valid TOML: {error}") from error


def _with(lines: list[str], section: str, key: str, value: str | None) -> list[str]:
    """Change, add or remove one line."""
    begin, end = _span(lines, section)
    line = None if value is None else f"{key} = {json.dumps(value, ensure_ascii=False)}"
    new = [] if line is None else [line]
    if begin is None:
        return [*lines, "", f"[{section}]", *new] if new else lines
    pattern = re.compile(rf"\s*{re.escape(key)}\s*=")
    at = next((number for number in range(begin, end) if pattern.match(lines[number])), None)
    if at is None:
        return [*lines[:begin], *new, *lines[begin:]]
    return [*lines[:at], *new, *lines[at + 1 :]]


def _span(lines: list[str], section: str) -> tuple[int | None, int]:
    """First line of a section behind its header, or None, and the one behind its last."""
    headers = [number for number, line in enumerate(lines) if line.lstrip().startswith("[")]
    named = {found[1].strip(): number for number in headers if (found := _HEADER.fullmatch(lines[number]))}
    begin = 0 if not section else named[section] + 1 if section in named else None
    end = next((number for number in headers if begin is not None and number >= begin), len(lines))
    return begin, end


def _changed(before: Mapping[str, Any], changes: Changes) -> dict[str, Any]:
    after = {key: dict(value) if isinstance(value, dict) else value for key, value in before.items()}
    for (section, key), value in changes.items():
        place: dict[str, Any] = after.setdefault(section, {}) if section else after
        if value is None:
            place.pop(key, None)
        else:
            place[key] = value
    return after


def _without_empty(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value != {}}
