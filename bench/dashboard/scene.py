"""The demo's fleet with a dashboard: three agents with emulated speeds and links, the demo's model split over them, requests flowing.

Owns: setting that up. Its rule: everything is real but the speeds, as in the demo. Not here: browsers (`chromium.py`).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from demo import shapes
from demo.fleet import EmulatedLink, EmulatedNode, LocalFleet
from demo.run import MODEL, MODEL_FILE, NODES
from demo.traffic import Traffic

__all__ = ["PICTURED_NODES", "Scene", "scene"]

# The demo's machines with a fast line between edge and cloud, so that a plan for latency uses all three.
_UPLINK, _LINE = EmulatedLink(5e6, 0.005), EmulatedLink(100e6, 0.002)
PICTURED_NODES = (
    EmulatedNode("device", 2.9165, 3.507, slow_down=30.0, links={"edge": _UPLINK, "cloud": EmulatedLink(1e6, 0.055)}),
    EmulatedNode("edge", 5.833, 2.265, slow_down=8.0, links={"device": EmulatedLink(20e6, 0.005), "cloud": _LINE}),
    EmulatedNode("cloud", 35.0, 0.014, links={"device": EmulatedLink(2e6, 0.055), "edge": _LINE}),
)


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
def scene(
    folder: Path, *, broker: str | None = None, nodes: Sequence[EmulatedNode] = NODES, pause_s: float = 0.5
) -> Generator[Scene]:
    """Start it, and end all of it.

    Args:
        folder: For all files.
        broker: URL of a running one; None: the controller's own.
        nodes: `device`, `edge` and `cloud`, with speeds and links.
        pause_s: Least time between two requests. [s]
    """
    with LocalFleet(folder, nodes, broker=broker, dashboard=True) as fleet:
        fleet.start()
        fleet.await_nodes()
        fleet.splitctl("model", "add", MODEL, str(MODEL_FILE), "--max-quantizable", "3")
        fleet.splitctl("deploy", MODEL, "--source", "device")
        image = {name: array[:1] for name, array in shapes.held_out(1).inputs.items()}
        with Traffic(fleet.address("device"), MODEL, image, pause_s=pause_s):
            yield Scene(fleet, f"http://{fleet.dashboard_address}")
