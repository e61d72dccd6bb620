"""The main job on one machine: deploy, split, change goals, lose bandwidth, lose a node; requests keep flowing.

Owns: the demo's script and its verdict. Its rule: nothing is special-cased for the demo; it uses the daemons, splitctl
and the client library as an operator would, and ends non-zero when a request failed, a float plan's outputs differ
from the whole model's, or measured noise exceeds the bound. Not here: processes (`fleet.py`), drawing
(`picture.py`, `report.py`).
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

import edgesplit
from demo import picture, report, scoring, shapes
from demo.fleet import CommandFailed, EmulatedLink, EmulatedNode, LocalFleet
from demo.traffic import Traffic
from edgesplit.errors import EdgesplitError
from edgesplit.wire.codecs import CODECS

__all__ = ["main"]

MODEL = "shapes"
MODEL_FILE = Path(__file__).with_name("shapes.onnx")
IMAGES = 12
RELATIVE_TOLERANCE = 1e-4
"""Of each output's range: how far a float plan's outputs may be from the whole model's."""
SWITCH_TIMEOUT_S = 30.0
RECOVERED = 0.6
"""Share of a link's rate that agents must have measured before it counts as recovered: six times what it had fallen to. A
machine with other work measures a fifth less than there is."""
RECOVERY_TIMEOUT_S = 60.0
"""Probes keep to a small share of a slow link, so that its recovery may be looked for some time. [s]"""

DEVICE_UPLINK = EmulatedLink(bandwidth_bytes_per_s=5e6, latency_s=0.005)
# Powers, rates and delays are those of the reference study's machines (its T4 cloud draws 35 W). The slow-downs make up
# for the demo model being a thousandth of the study's: they stand for a small board, a modest box and a server.
NODES = (
    EmulatedNode(
        "device",
        compute_w=2.9165,
        transmit_w=3.507,
        slow_down=30.0,
        links={"edge": DEVICE_UPLINK, "cloud": EmulatedLink(5e6, 0.055)},
    ),
    EmulatedNode(
        "edge",
        compute_w=5.833,
        transmit_w=2.265,
        slow_down=5.0,
        links={"device": EmulatedLink(20e6, 0.005), "cloud": EmulatedLink(20e6, 0.050)},
    ),
    EmulatedNode(
        "cloud",
        compute_w=35.0,
        transmit_w=0.014,
        slow_down=1.0,
        links={"device": EmulatedLink(100e6, 0.055), "edge": EmulatedLink(100e6, 0.050)},
    ),
)


@dataclass
class Demo:
    """One run: the fleet, the reference outputs and what was found wrong so far."""

    fleet: LocalFleet
    folder: Path
    batch: shapes.ShapesBatch
    reference: NDArray[np.float32]
    steps: list[report.Step] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def measure(self, title: str, *, bound: float | None) -> report.Step:
        """Infer the held-out images one after another and hold the answer against the whole model's."""
        outputs: list[NDArray[Any]] = []
        latencies: list[float] = []
        plan = self.fleet.splitctl("plan", MODEL)
        with edgesplit.connect(self.fleet.address("device")) as node:
            for index in range(IMAGES):
                image = self.batch.inputs[shapes.INPUT_NAME][index : index + 1]
                result = node.infer_detailed(MODEL, {shapes.INPUT_NAME: image}, deadline_s=30.0)
                outputs.append(result.outputs[shapes.OUTPUT_NAME])
                latencies.append(result.latency_s)
        logits = np.concatenate(outputs)
        noise = float(np.abs(logits - self.reference).mean())
        time.sleep(1.5)  # agents report what serving cost once a second
        step = report.Step(
            title=title,
            plan=self.fleet.splitctl("plan", MODEL),
            latency_s=float(np.median(latencies)),
            noise=noise,
            mean_iou=scoring.mean_iou(logits, self.batch.labels[:IMAGES], len(shapes.CLASSES)),
            logits=logits,
            bound=bound,
        )
        if step.plan["epoch"] != plan["epoch"]:
            report.say(f"(epoch {plan['epoch']} was replaced by {step.plan['epoch']} while this step was measured)")
        self._judge(step)
        self.steps.append(step)
        report.show_step(step)
        return step

    def _judge(self, step: report.Step) -> None:
        exact = not step.plan["quantized"] and all(CODECS[name].lossless for name in step.plan["codecs"].values())
        if exact:
            worst = float(np.abs(step.logits - self.reference).max() / np.ptp(self.reference))
            if worst > RELATIVE_TOLERANCE:
                self.faults.append(f"{step.title}: a float plan's output differs by {worst:.1e} of its range")
        elif step.bound is not None and step.noise > step.bound:
            self.faults.append(f"{step.title}: measured noise {step.noise:.4f} exceeds the bound {step.bound:.4f}")

    def await_change(self, what: str, before: dict[str, Any], happened: Callable[[dict[str, Any]], bool]) -> None:
        """Wait until the active plan satisfies `happened`, as it should by itself; `before`: the plan until then."""
        begin = time.monotonic()
        while time.monotonic() - begin < SWITCH_TIMEOUT_S:
            plan = self.fleet.splitctl("plan", MODEL)
            if happened(plan):
                did = "re-planned" if plan["epoch"] > before["epoch"] else "looked at, and the plan was kept,"
                report.say(f"{did} by itself {time.monotonic() - begin:.1f} s after {what}: {plan['reason']}")
                return
            time.sleep(0.25)
        self.faults.append(f"no new plan within {SWITCH_TIMEOUT_S:.0f} s after {what}")

    def await_links(self) -> None:
        """Wait until the device has measured that its links are as they were."""
        begin = time.monotonic()
        links = self.fleet.nodes["device"].links
        while time.monotonic() - begin < RECOVERY_TIMEOUT_S:
            measured = {row["to"]: row for row in self.fleet.splitctl("links") if row["from"] == "device"}
            rates = [
                (measured[peer]["bandwidth_bytes_per_s"] or 0.0) / link.bandwidth_bytes_per_s
                for peer, link in links.items()
            ]
            if min(rates) >= RECOVERED:
                report.say(f"measured again {time.monotonic() - begin:.1f} s after the links recovered")
                return
            time.sleep(0.25)
        self.faults.append(f"the recovered links were not measured within {RECOVERY_TIMEOUT_S:.0f} s")


def run(folder: Path, *, keep: bool = False) -> list[str]:
    """Run the demo; returns what was found wrong, empty if nothing was.

    Args:
        folder: For everything it writes.
        keep: At the end everything goes on until Ctrl-C.
    """
    begin = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    save_arrays(folder / "calibration.npz", shapes.calibration(32))
    batch = shapes.held_out(IMAGES)
    with LocalFleet(folder, NODES, dashboard=True) as fleet:
        report.headline("Start controller (with an embedded broker) and three agents; speeds and links are emulated")
        fleet.start()
        fleet.await_nodes()
        report.say(f"the dashboard: {fleet.splitctl('dashboard')['url']}")
        report.show_fleet(fleet.splitctl("nodes"), fleet.splitctl("links"), NODES)
        report.headline("Add the demo model: check, quantize, model its noise, profile it on every node")
        calibration = str(folder / "calibration.npz")
        added = fleet.splitctl(
            "model", "add", "--wait", "all", MODEL, str(MODEL_FILE), "--calibration", calibration, show_progress=True
        )
        report.show_model(added)
        report.headline("Deploy with the device as source")
        fleet.splitctl("deploy", MODEL, "--source", "device")
        demo = Demo(fleet, folder, batch, whole_model(batch))
        first = {name: array[:1] for name, array in batch.inputs.items()}
        with Traffic(fleet.address("device"), MODEL, first) as traffic:
            play(demo, added["noise_model"]["full_noise"])
            tally = traffic.end()
        demo.faults += [f"a request failed: {sentence}" for sentence in tally.failures]
        report.show_traffic(tally)
        report.show_events(fleet.splitctl("events"))
        save_pictures(demo)
        report.verdict(demo.faults, time.monotonic() - begin)
        if keep:
            go_on(fleet, first)
    return demo.faults


def go_on(fleet: LocalFleet, inputs: dict[str, NDArray[Any]]) -> None:
    """Bring the killed agent back and let requests flow until Ctrl-C."""
    fleet.start_agent("edge")
    report.say(f"everything goes on; the dashboard: {fleet.splitctl('dashboard')['url']} (Ctrl-C ends it all)")
    with Traffic(fleet.address("device"), MODEL, inputs), contextlib.suppress(KeyboardInterrupt):
        while not fleet.ended():
            time.sleep(1.0)


def play(demo: Demo, full_noise: float) -> None:
    """Change goals, then the world."""
    fleet = demo.fleet
    demo.measure("deployed: latency only, float", bound=0.0)
    report.headline("splitctl set-weights --energy 1.0 --max-noise 0.5")
    fleet.splitctl("set-weights", "--energy", "1.0", "--max-noise", "0.5")
    demo.measure("energy only, noise at most 0.5", bound=0.5)
    half = full_noise / 2
    report.headline(f"splitctl set-weights --energy 1.0 --max-noise {half:.4f} (half of all quantized: it binds)")
    fleet.splitctl("set-weights", "--energy", "1.0", "--max-noise", f"{half:.6f}")
    demo.measure("energy only, half the full noise", bound=half)
    report.headline("The device's link falls to a tenth")
    before = fleet.splitctl("plan", MODEL)
    for peer in ("edge", "cloud"):
        link = fleet.nodes["device"].links[peer]
        fleet.set_link("device", peer, EmulatedLink(link.bandwidth_bytes_per_s / 10, link.latency_s))
    # Another plan, or a reasoned refusal of one: which it is depends on how fast this machine is now.
    demo.await_change("the device's link fell", before, lambda plan: _answered(before, plan, "link device -> "))
    demo.measure("device's link at a tenth", bound=half)
    report.headline("The link recovers and latency counts again: splitctl set-weights --latency 1.0")
    for peer in ("edge", "cloud"):
        fleet.set_link("device", peer, NODES[0].links[peer])
    demo.await_links()
    fleet.splitctl("set-weights", "--latency", "1.0")
    demo.measure("link back, latency only", bound=half)
    report.headline("The edge agent is killed (kill -9)")
    fleet.kill("edge")
    demo.await_change(
        "the edge agent was killed",
        fleet.splitctl("plan", MODEL),
        lambda plan: plan["per_node"].get("edge", {"operators": 0})["operators"] == 0,
    )
    demo.measure("edge agent killed", bound=half)


def _answered(before: dict[str, Any], plan: dict[str, Any], cause: str) -> bool:
    """Whether something that happened brought another plan, or was weighed and found not to be worth one."""
    declined = plan.get("declined") or {}
    weighed = declined.get("count", 0) > (before.get("declined") or {}).get("count", 0)
    return plan["epoch"] > before["epoch"] or (weighed and cause in declined.get("last_reason", ""))


def whole_model(batch: shapes.ShapesBatch) -> NDArray[np.float32]:
    """Outputs of the unsplit float model, shape (images, classes, height, width)."""
    import onnxruntime  # noqa: PLC0415  heavy, and only the reference needs it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(MODEL_FILE), options, providers=["CPUExecutionProvider"])
    images = batch.inputs[shapes.INPUT_NAME][:IMAGES]
    return np.concatenate([session.run([shapes.OUTPUT_NAME], {shapes.INPUT_NAME: image[None]})[0] for image in images])


def save_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays under their names, as splitctl wants them."""
    np.savez(path, **arrays)


def save_pictures(demo: Demo) -> None:
    """Write the result and the steps as PNG files."""
    quantized = next((step for step in demo.steps if step.plan["quantized"]), demo.steps[-1])
    picture.save_picture(
        demo.folder / "result.png",
        demo.batch.inputs[shapes.INPUT_NAME][0],
        demo.batch.labels[0],
        scoring.to_labels(demo.steps[0].logits)[0],
        scoring.to_labels(quantized.logits)[0],
    )
    picture.save_steps_picture(demo.folder / "steps.png", [step.row() for step in demo.steps])
    report.say(f"pictures: {demo.folder / 'result.png'}, {demo.folder / 'steps.png'}")


@click.command()
@click.option("--output", type=click.Path(path_type=Path), default=Path("demo-output"), show_default=True)
@click.option("--keep", is_flag=True, help="At the end everything goes on, until Ctrl-C.")
def main(output: Path, keep: bool) -> None:
    """Run the main job on this machine: device, edge and cloud as processes with emulated speed and links.

    Example: python -m demo --output /tmp/demo
    """
    try:
        faults = run(output.resolve(), keep=keep)
    except (CommandFailed, EdgesplitError, TimeoutError) as error:
        sys.exit(f"demo failed: {error} (logs: {output / 'logs'})")
    except KeyboardInterrupt:
        sys.exit("demo interrupted; every process it started has ended")
    sys.exit(1 if faults else 0)
