"""What the demo prints: tables per step, every figure labelled predicted or measured.

Owns: the layout of the demo's output. Its rule: it only shows what it is given. Not here: pictures (`picture.py`) and
the measuring itself (`run.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from demo.fleet import EmulatedNode
from demo.picture import StepRow
from demo.traffic import Tally

__all__ = [
    "Step",
    "headline",
    "say",
    "show_events",
    "show_fleet",
    "show_model",
    "show_step",
    "show_traffic",
    "verdict",
]

NODE_ORDER = ("device", "edge", "cloud")
_console = Console(width=118, highlight=False)


@dataclass(frozen=True)
class Step:
    """One measured step.

    Attributes:
        plan: Document of `splitctl plan`.
        latency_s: Measured median at the caller. [s]
        noise: Measured mean absolute difference to the whole float model.
        bound: Upper limit of the noise under this step's goals.
        logits: All outputs, shape (images, classes, height, width).
    """

    title: str
    plan: dict[str, Any]
    latency_s: float
    noise: float
    mean_iou: float
    logits: NDArray[Any]
    bound: float | None

    def row(self) -> StepRow:
        """The step as a row of the steps picture."""
        return StepRow(
            title=self.title,
            operators={node: self.plan["per_node"].get(node, {"operators": 0})["operators"] for node in NODE_ORDER},
            predicted_latency_s=self.plan["latency_s"],
            measured_latency_s=self.latency_s,
            predicted_energy_j=self.plan["energy_j"],
            measured_energy_j=self.plan["measured"]["energy_j"],
            note=f"noise {self.noise:.4f}, mIoU {self.mean_iou:.3f}, {len(self.plan['quantized'])} operators in int8",
        )


def headline(text: str) -> None:
    """Begin a step."""
    _console.print()
    _console.rule(f"[bold]{text}", align="left")


def say(text: str) -> None:
    """One plain line."""
    _console.print(text, soft_wrap=True)


def show_fleet(
    nodes: Sequence[dict[str, Any]], links: Sequence[dict[str, Any]], emulated: Sequence[EmulatedNode]
) -> None:
    """Nodes and links as the controller sees them, beside what is emulated."""
    factors = {node.name: node.slow_down for node in emulated}
    table = Table("node", "slow-down (emulated)", "computing", "sending", "power from")
    for row in nodes:
        table.add_row(
            row["name"],
            f"x {factors[row['name']]:g}",
            f"{row['compute_w']:.3f} W",
            f"{row['transmit_w']:.3f} W",
            row["power_origin"],
        )
    _console.print(table)
    table = Table("link", "bandwidth (measured)", "latency (measured)")
    for row in (link for link in links if link["latency_s"] is not None):
        table.add_row(
            f"{row['from']} → {row['to']}",
            f"{row['bandwidth_bytes_per_s'] / 1e6:.2f} MB/s",
            f"{row['latency_s'] * 1e3:.1f} ms",
        )
    _console.print(table)


def show_model(added: dict[str, Any]) -> None:
    """Result of `splitctl model add`."""
    noise = added["noise_model"]
    fit = "" if noise["r2_test"] is None else f", held-out R2 {noise['r2_test']:.4f}"
    say(
        f"{added['operators']} operators in {added['units']} units, {len(added['quantizable'])} quantizable; noise model: "
        f"degree {noise['degree']}{fit}, {noise['seconds']:.1f} s; all quantized: noise {noise['full_noise']:.4f} (measured)"
    )


def show_step(step: Step) -> None:
    """Where operators sit, and predicted beside measured."""
    table = Table("node", "operators", "components", "in int8", "components in order")
    for node in NODE_ORDER:
        share = step.plan["per_node"].get(node)
        if share is None:
            continue
        spans = [
            f"{row['operators'][0]} … {row['operators'][-1]}"
            for row in step.plan["components"]
            if row["node"] == node and row["operators"]
        ]
        table.add_row(
            node, str(share["operators"]), str(share["components"]), str(share["quantized"]), "\n".join(spans)
        )
    _console.print(table)
    measured = step.plan["measured"]
    energy = "no request yet"
    if measured["energy_j"] is not None:
        energy = f"{measured['energy_j']:.3f} J (watts {measured['energy_origin']})"
    table = Table(f"epoch {step.plan['epoch']}", "latency", "energy per request", "noise", "mIoU (held-out)")
    table.add_row(
        "predicted",
        f"{step.plan['latency_s'] * 1e3:.1f} ms",
        f"{step.plan['energy_j']:.3f} J",
        f"{step.plan['noise']:.4f}",
        "",
    )
    table.add_row(
        "measured",
        f"{step.latency_s * 1e3:.1f} ms",
        energy,
        f"{step.noise:.4f}" + ("" if step.bound is None else f" (bound {step.bound:.4f})"),
        f"{step.mean_iou:.4f}",
    )
    _console.print(table)
    say(f"planned in {step.plan['solve_s'] * 1e3:.0f} ms, {step.plan['status']}: {step.plan['reason']}")


def show_traffic(tally: Tally) -> None:
    """The requests that flowed all along."""
    headline("Requests that flowed all along")
    epochs = list(dict.fromkeys(tally.epochs))
    slowest = max(tally.latencies_s, default=float("nan"))
    say(
        f"{len(tally.latencies_s)} completed, {len(tally.failures)} failed, over epochs {epochs}; "
        f"median {np.median(tally.latencies_s) * 1e3:.1f} ms, slowest {slowest * 1e3:.1f} ms"
    )


def show_events(events: Sequence[dict[str, Any]]) -> None:
    """What happened and why, as `splitctl events` tells it."""
    headline("splitctl events (what happened and why)")
    begin = events[0]["at_unix_s"] if events else 0.0
    for event in events:
        say(f"{event['at_unix_s'] - begin:7.1f} s  {event['kind']:<18} {event['text']}")


def verdict(faults: Sequence[str], seconds: float) -> None:
    """The last lines."""
    headline("Verdict")
    for fault in faults:
        say(f"WRONG: {fault}")
    say(f"{'failed' if faults else 'passed'} in {seconds:.0f} s")
