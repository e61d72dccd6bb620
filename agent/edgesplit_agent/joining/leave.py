"""Leaving: what joining made is taken back, and the cache too if that is asked for.

Its rule: harmless where there is nothing to undo; what remains at the controller is its operator's to forget. Not here: the files
(`node_files.py`), the service (`service_unit.py`).
"""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from edgesplit.daemon.configuration_file import load_configuration
from edgesplit.daemon.service_unit import ServiceUnit
from edgesplit.errors import EdgesplitError, InvalidConfiguration
from edgesplit_agent.configuration import AgentConfiguration
from edgesplit_agent.joining.node_files import NodeFiles

__all__ = ["LeaveDocument", "leave_fleet"]

_LEAST_PARTS = 3
"""Of a path that is removed with all below it: no folder of the system's own."""


class LeaveDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`edgesplit-agent leave --json`.

    Attributes:
        name: The node's until now; empty where it was in no fleet.
        done: What was undone, a sentence each.
    """

    name: str
    done: tuple[str, ...]


def leave_fleet(files: NodeFiles, unit: ServiceUnit, *, purge: bool) -> LeaveDocument:
    """Undo joining.

    Args:
        files: Where the node keeps what was written.
        unit: Its service, if there is one.
        purge: Remove the cache of blobs and profiles too.

    Raises:
        InvalidConfiguration: Something cannot be removed.
    """
    identity = files.identity()
    done: list[str] = []
    try:
        if purge:
            done += _purge(files, unit)
        done += unit.remove() if _is_services(files, unit) else []
        done += files.remove()
    except OSError as error:
        raise InvalidConfiguration(
            f"{error.filename or files.folder} cannot be removed ({error.strerror}): leaving needs root"
        ) from error
    return LeaveDocument(name=identity.subject.name if identity is not None else "", done=tuple(done))


def _is_services(files: NodeFiles, unit: ServiceUnit) -> bool:
    """Whether the service reads this configuration."""
    return unit.path.is_file() and str(files.configuration) in unit.path.read_text(encoding="utf-8")


def _purge(files: NodeFiles, unit: ServiceUnit) -> list[str]:
    if _is_services(files, unit):
        unit.clean()
        return ["removed the service's cache and state"]
    try:
        cache = load_configuration(AgentConfiguration, files.configuration).values.cache.folder
    except EdgesplitError:
        return []
    if not cache.is_dir():
        return []
    holds = [path for path in (Path.home(), files.configuration, files.folder) if path.is_relative_to(cache.resolve())]
    if holds or len(cache.resolve().parts) < _LEAST_PARTS:
        return [f"left {cache} alone, which is no cache of its own"]
    shutil.rmtree(cache)
    return [f"removed the cache {cache}"]
