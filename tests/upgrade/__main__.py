"""`python -m tests.upgrade`: five agents and a controller from the previous release to this one, under load, in both orders.

Owns: the long proof and what it prints. Its rule: ends non-zero when a request failed, a file of a cache is damaged, or a process is of the
wrong release at the end. Not here: the steps (`rolling.py`).

The controller is last under clients of the previous release, first under clients of this one; at the end of each, one agent and the controller go back to the previous
release on the files that this one used, and forth again.
"""

from __future__ import annotations

import hashlib
import re
import sys
import tempfile
import time
from pathlib import Path

from edgesplit.release import installed_version
from tests.brokers import running_mosquitto
from tests.upgrade.mixed_fleet import PREVIOUS, Asked, Load, MixedFleet, Release
from tests.upgrade.rolling import MODEL, NODES, Roll, deploy_over_three, nodes_named, write_request

AGENTS = ("spare", "cloud", "edge", "gate", "device")
ORDERS: dict[str, tuple[Release, tuple[str, ...]]] = {
    "controller last": ("previous", (*AGENTS, "controller")),
    "controller first": ("this", ("controller", *AGENTS)),
}
BACK_AND_FORTH = ("edge", "controller")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def main() -> int:
    """Run both orders; the exit status."""
    faults: list[str] = []
    for title, (client, order) in ORDERS.items():
        with tempfile.TemporaryDirectory() as folder:
            faults += [f"{title}: {fault}" for fault in _upgrade(Path(folder), title, client, order)]
    for fault in faults:
        _say(f"FAULT {fault}")
    return 1 if faults else 0


def _upgrade(folder: Path, title: str, client: Release, order: tuple[str, ...]) -> list[str]:
    with running_mosquitto(folder) as url, MixedFleet(folder / "fleet", nodes_named(*NODES), broker=url) as fleet:
        for name in ("controller", *NODES):
            fleet.use(name, "previous")
        fleet.start()
        fleet.await_nodes(120)
        request, expected = write_request(folder)
        deploy_over_three(fleet, request)
        load = Load(fleet, client, MODEL, request, expected, "gate")
        try:
            started_s = time.monotonic()
            roll = Roll(fleet, load, request, lambda text: _say(f"{title}: {text}"))
            roll.replace_all(order, "this")
            upgraded = fleet.versions()
            roll.replace_all(BACK_AND_FORTH, "previous")
            roll.replace_all(BACK_AND_FORTH, "this")
            asked = load.end()
        finally:
            load.kill()
        _say(
            f"{title}: {PREVIOUS} to {installed_version()}, {len(NODES)} agents, clients of {asked.client}: {asked.answered} answered, "
            f"{asked.failed} failed in {time.monotonic() - started_s:.0f} s, epochs {asked.epochs[0]} to {asked.epochs[-1]}"
        )
        return [*_faults(asked, upgraded), *_damaged(fleet)]


def _faults(asked: Asked, versions: dict[str, str]) -> list[str]:
    wrong = {name: version for name, version in versions.items() if version != installed_version()}
    return [
        *(f"a request failed: {text}" for text in asked.failures),
        *([f"after the upgrade some were of another release: {wrong}"] if wrong else []),
    ]


def _damaged(fleet: MixedFleet) -> list[str]:
    """Blobs that are not what their name says, after agents of both releases used a folder."""
    caches = [fleet.folder / "cache" / name for name in fleet.nodes]
    blobs = [path for cache in caches for path in cache.iterdir() if _DIGEST.fullmatch(path.name)]
    if not blobs:
        return ["the caches hold nothing"]
    wrong = [path for path in blobs if hashlib.sha256(path.read_bytes()).hexdigest() != path.name]
    return [f"damaged: {path}" for path in wrong]


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
