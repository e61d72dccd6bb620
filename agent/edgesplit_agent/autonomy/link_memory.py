"""Memory of links over restarts: what a node's links carried, so that a start need not find it out anew.

Owns: which figures are kept, for how long, and the file. Its rule: they are looked at before anybody plans with them, and a file that cannot be
read or written costs no more than that. Not here: measuring (`dataplane/measurement`), what the node was told (`node_memory.py`).

To find out what a long fat link carries takes megabytes and seconds, in which a machine that has just started is busy with everything else and
finds too little. Links within a room are measured in no time and are not kept.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import structlog

from edgesplit.control.figure_messages import LinkState
from edgesplit.significance import REPORTED_CHANGE, differs
from edgesplit_agent.autonomy.kept_file import write_kept

__all__ = ["LinkMemory"]

KEPT_S = 86_400.0
"""What is older is not believed. [s]"""
LEAST_LATENCY_S = 0.0005
"""One way; less is within a room. [s]"""
WRITE_EVERY_S = 5.0
"""At most so often, however much changes. [s]"""

_log = structlog.get_logger(part="agent")


class _KeptLink(msgspec.Struct, frozen=True, kw_only=True):
    to: str
    bandwidth_bytes_per_s: float
    at_unix_s: float


class _KeptLinks(msgspec.Struct, frozen=True, kw_only=True):
    format: str = "edgesplit-links/1"
    links: tuple[_KeptLink, ...] = ()


class LinkMemory:
    """Of one node.

    Args:
        folder: Of the cache; None: nothing outlives the program.
        node: Its name; agents of one machine may share the folder.
        wall_clock: Since the epoch. [s]
    """

    def __init__(self, folder: Path | None, node: str, wall_clock: Callable[[], float] = time.time) -> None:
        self._path = None if folder is None else folder / f"links-{node}.json"
        self._wall_clock = wall_clock
        self._links: dict[str, _KeptLink] = {}
        self._changed = self._told = False
        self._written_s = float("-inf")
        self._writing: asyncio.Future[OSError | None] | None = None
        if self._path is not None:
            self._links = {link.to: link for link in _read(self._path).links}

    def recalled(self, peer: str) -> tuple[float, float] | None:
        """What the link to a peer carried when that was last known, and how long ago that was. [B/s, s]"""
        link = self._links.get(peer)
        if link is None or link.bandwidth_bytes_per_s <= 0:
            return None
        age_s = self._wall_clock() - link.at_unix_s
        return (link.bandwidth_bytes_per_s, age_s) if 0.0 <= age_s <= KEPT_S else None

    def take(self, links: Sequence[LinkState]) -> None:
        """What is known now; called on the event loop, now and then."""
        now_unix_s = self._wall_clock()
        for link in links:
            if not link.up or link.latency_s < LEAST_LATENCY_S:
                continue
            kept = _KeptLink(
                to=link.to,
                bandwidth_bytes_per_s=link.bandwidth_bytes_per_s,
                at_unix_s=now_unix_s - (link.age_s or 0.0),
            )
            if _is_news(self._links.get(link.to), kept):
                self._links[link.to] = kept
                self._changed = True
        self._write_soon()

    async def close(self) -> None:
        """Write what is not written yet."""
        if self._writing is not None:
            await self._writing
        if self._path is not None and self._changed:
            await asyncio.to_thread(write_kept, self._path, self._content())

    def _write_soon(self) -> None:
        now_s = time.monotonic()
        if self._path is None or not self._changed:
            return
        if self._writing is not None or now_s - self._written_s < WRITE_EVERY_S:
            return
        self._changed, self._written_s = False, now_s
        loop = asyncio.get_running_loop()
        self._writing = loop.run_in_executor(None, write_kept, self._path, self._content())
        self._writing.add_done_callback(self._written)

    def _written(self, writing: asyncio.Future[OSError | None]) -> None:
        self._writing = None
        error = None if writing.cancelled() else writing.result()
        if error is not None and not self._told:
            _log.warning("links-not-kept", reason=str(error), text="the next start measures its links anew")
        self._told = error is not None
        self._changed |= error is not None

    def _content(self) -> bytes:
        return msgspec.json.encode(_KeptLinks(links=tuple(self._links[name] for name in sorted(self._links))))


def _is_news(before: _KeptLink | None, now: _KeptLink) -> bool:
    """Whether it is worth writing: another figure, or the same one much later."""
    if before is None or now.at_unix_s - before.at_unix_s > KEPT_S / 4:
        return True
    return differs(before.bandwidth_bytes_per_s, now.bandwidth_bytes_per_s, REPORTED_CHANGE)


def _read(path: Path) -> _KeptLinks:
    """What was kept; nothing where the file is missing, damaged or another release's."""
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=_KeptLinks)
    except FileNotFoundError:
        return _KeptLinks()
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        _log.warning("links-not-recalled", reason=str(error), text="links are measured anew")
        return _KeptLinks()
    return kept if kept.format == _KeptLinks().format else _KeptLinks()
