"""Operator sets (opsets) that the installed runtime loads, found out once for each release of it and remembered beside the blobs.

Owns: that file, and finding out without the runtime in a process that computes nothing yet: a process of its own loads it and ends. Its rule:
a node that does not know yet registers without them and says them later. Not here: how they are found (`edgesplit.daemon.inference_runtime`).
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec
import structlog

from edgesplit.daemon.inference_runtime.runtime_abilities import known_operator_sets
from edgesplit.errors import first_line
from edgesplit.trust.files import write_private

__all__ = ["find_operator_sets", "remembered_operator_sets"]

WITHIN_S = 120.0
_ASK = (
    "from edgesplit.daemon.inference_runtime.telemetry_off import stay_discreet\n"
    "stay_discreet()\n"
    "import msgspec\n"
    "from edgesplit.daemon.inference_runtime.runtime_abilities import known_operator_sets\n"
    "print(msgspec.json.encode(dict(known_operator_sets())).decode())\n"
)


class _FoundSets(msgspec.Struct, frozen=True, kw_only=True):
    """What a release of the runtime loads.

    Attributes:
        runtime: Its name and version.
        sets: Newest version by domain.
    """

    runtime: str
    sets: dict[str, int]


def remembered_operator_sets(folder: Path, runtime: str) -> Mapping[str, int]:
    """Newest versions by domain; empty where they were not found out yet.

    Args:
        folder: Of the cache.
        runtime: Name and version of the installed runtime.
    """
    with contextlib.suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
        found = msgspec.json.decode(_file(folder).read_bytes(), type=_FoundSets)
        return found.sets if found.runtime == runtime else {}
    return {}


def find_operator_sets(folder: Path, runtime: str) -> Mapping[str, int]:
    """Find them out and remember them; blocking. Arguments as of `remembered_operator_sets`; empty where the runtime does not start."""
    try:
        sets = dict(known_operator_sets()) if "onnxruntime" in sys.modules else _asked_elsewhere()
    except (OSError, subprocess.SubprocessError, msgspec.DecodeError) as error:
        structlog.get_logger(part="runtime").warning("operator-sets-unknown", error=first_line(error))
        return {}
    with contextlib.suppress(OSError):  # it is found out again next time
        write_private(_file(folder), msgspec.json.encode(_FoundSets(runtime=runtime, sets=sets)))
    return sets


def _asked_elsewhere() -> dict[str, int]:
    done = subprocess.run([sys.executable, "-c", _ASK], capture_output=True, timeout=WITHIN_S, check=True)
    return msgspec.json.decode(done.stdout, type=dict[str, int])


def _file(folder: Path) -> Path:
    return folder / "operator-sets.json"
