"""The demo's fleet with a dashboard: three agents with emulated speeds and links, the demo's model split over them, requests flowing.

Owns: setting that up. Its rule: everything is real but the speeds, as in the demo. Not here: browsers (`chromium.py`).
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from demo import shapes
from demo.fleet import LocalFleet
from demo.run import MODEL, MODEL_FILE, NODES
from demo.traffic import Traffic

__all__ = ["Scene", "scene"]


@dataclass(frozen=True)
class Scene:
    """What runs.

    Attributes:
        base: Of the dashboard, without a slash at its end.
        model: Name of the model that is served from `device`.
    """

    fleet: LocalFleet
    base: str
    model: str = MODEL
    node: str = "edge"


@contextmanager
def scene(folder: Path, *, broker: str | None = None, pause_s: float = 0.5) -> Generator[Scene]:
    """Start it, and end all of it.

    Args:
        folder: For all files.
        broker: URL of a running one; None: the controller's own.
        pause_s: Least time between two requests. [s]
    """
    with LocalFleet(folder, NODES, broker=broker, dashboard=True) as fleet:
        fleet.start()
        fleet.await_nodes()
        fleet.splitctl("model", "add", MODEL, str(MODEL_FILE), "--max-quantizable", "3")
        fleet.splitctl("deploy", MODEL, "--source", "device")
        image = {name: array[:1] for name, array in shapes.held_out(1).inputs.items()}
        with Traffic(fleet.address("device"), MODEL, image, pause_s=pause_s):
            yield Scene(fleet, f"http://{fleet.dashboard_address}")
