"""Snapshot file of a node: the messages that say what it should hold, as they came, with a checksum and a version.

Owns: the file's format, and what becomes of one that cannot be used. Its rule: replaced whole; what is damaged, another node's or another
version's is set aside under another name, so that a start never fails for it and nobody loses what may be looked at. Not here: which messages
are kept (`node_memory.py`), whether they are believed (`edgesplit.mqtt.signed`).

    {"format": "edgesplit-kept/1", "node": "device", "protocol": 1, "sha256": "of the second line"}
    {"messages": [{"topic": "...", "payload": "...", "heard_unix_s": 0.0}], "nodes": [...], "blobs": [...]}

A payload is the text that came over MQTT, in a fleet with an authority the whole envelope. The checksum finds accidents; that nobody wrote
the file on purpose, its rights say (its owner alone reads and writes it), and the signatures inside.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

import msgspec

from edgesplit.control.registration_messages import NodeStatus
from edgesplit.release import PROTOCOL
from edgesplit.trust.files import write_private

__all__ = [
    "KeptMessage",
    "KeptState",
    "KeptStateUnusable",
    "encoded",
    "kept_path",
    "pinned_blobs",
    "read_kept",
    "set_aside",
    "write_kept",
]

FORMAT = "edgesplit-kept/1"
ASIDE = ".set-aside"
"""Ends the name of a file that could not be used; a later one takes its place."""


class KeptMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message as it came.

    Attributes:
        topic: Where.
        payload: Its text, its envelope included.
        heard_unix_s: When it first came, on this machine's clock. [s since the epoch]
    """

    topic: str
    payload: str
    heard_unix_s: float


class KeptState(msgspec.Struct, frozen=True, kw_only=True):
    """What a node needs to start alone.

    Attributes:
        messages: Retained ones of the controller that concern it.
        nodes: Last registrations of the nodes that its plans name.
        blobs: Digests of what its plans are computed with; they stay in the cache as long as they are named here.
    """

    messages: tuple[KeptMessage, ...] = ()
    nodes: tuple[NodeStatus, ...] = ()
    blobs: tuple[str, ...] = ()


class KeptStateUnusable(Exception):
    """The file says nothing that may be acted on; the sentence says why."""


class _FirstLine(msgspec.Struct, frozen=True, kw_only=True):
    format: str
    node: str
    protocol: int
    sha256: str


class _Pins(msgspec.Struct, frozen=True, kw_only=True):
    blobs: tuple[str, ...] = ()


def kept_path(folder: Path, node: str) -> Path:
    """Where a node's file lies; agents of one machine may share the folder."""
    return folder / f"kept-{node}.json"


def encoded(state: KeptState, node: str) -> bytes:
    """The file's content."""
    body = msgspec.json.encode(state)
    header = _FirstLine(format=FORMAT, node=node, protocol=PROTOCOL, sha256=hashlib.sha256(body).hexdigest())
    return msgspec.json.encode(header) + b"\n" + body + b"\n"


def write_kept(path: Path, content: bytes) -> OSError | None:
    """Replace a file whole; blocking until it is on the disk.

    Returns:
        Why it cannot be written, the old one stays; None where it was.
    """
    try:
        write_private(path, content)
    except OSError as error:
        return error
    return None


def read_kept(path: Path, node: str) -> KeptState | None:
    """What was kept; None where nothing was.

    Raises:
        KeptStateUnusable: The file is damaged, another node's, or of another version.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise KeptStateUnusable(f"it cannot be read ({error.strerror or error})") from error
    head, _, rest = content.partition(b"\n")
    body = rest.removesuffix(b"\n")
    try:
        header = msgspec.json.decode(head, type=_FirstLine)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise KeptStateUnusable("it is damaged: its first line does not say what it is") from error
    if header.format != FORMAT:
        raise KeptStateUnusable(f"it is of another release ({header.format[:40]!r}, and this one reads {FORMAT!r})")
    if header.node != node:
        raise KeptStateUnusable(f"it is that of node {header.node[:100]!r}")
    if header.protocol != PROTOCOL:
        raise KeptStateUnusable(f"it was written under protocol {header.protocol}, and this release speaks {PROTOCOL}")
    if hashlib.sha256(body).hexdigest() != header.sha256:
        raise KeptStateUnusable("it is damaged: its bytes are not those that were written")
    try:
        return msgspec.json.decode(body, type=KeptState)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise KeptStateUnusable(f"it does not hold what it should ({error})") from error


def set_aside(path: Path) -> Path | None:
    """Give an unusable file another name, and return it; None where even that cannot be done."""
    aside = path.with_name(path.name + ASIDE)
    try:
        path.replace(aside)
    except OSError:
        return None
    return aside


def pinned_blobs(folder: Path) -> frozenset[str]:
    """Blobs that the files of all nodes in a folder name, whether their agents run or not."""
    found: set[str] = set()
    for path in folder.glob("kept-*.json"):
        with contextlib.suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
            found.update(msgspec.json.decode(path.read_bytes().partition(b"\n")[2], type=_Pins).blobs)
    return frozenset(found)
