"""Documents of made-up fleets and networks: large ones, and ones whose every name is what a test wants.

Owns: making them, from the documents that a controller once answered about the demo's model (`tests/dashboard/fixtures`) and from counts.
Its rule: their types are the product's, so that they have the keys that are answered today. Not here: serving them (`fed_server.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from edgesplit.control.event_messages import Event
from edgesplit.operations.fleet_operations import LinkRow, NodeRow
from edgesplit.operations.inspection.status_operations import (
    ActiveModelRow,
    ActiveNodeRow,
    ActivityDocument,
    NodeStateRow,
    ProblemRow,
    StatusDocument,
)

__all__ = ["MODEL", "FedDocuments", "fed_documents", "large_fleet", "large_network", "renamed"]

RECORDED = Path(__file__).resolve().parents[2] / "tests/dashboard/fixtures"
MODEL = "shapes"
NODES = ("cloud", "device", "edge")
_ANSWERS = {
    "show-plan": "plan",
    "explain-plan": "explain",
    "what-if": "what-if",
    "trace-frontier": "frontier",
    "show-trace": "trace",
}
"""Operation to the recorded document that answers it."""
_NAMED = ("model", "tensor", "tensors", "operators", "quantized", "text", "reason", "what", "do", "source")
"""Keys whose values are what people or models chose, or sentences that contain such."""
_SITE = 4
"""Nodes of a site."""
_SAMPLES, _STEP_S = 360, 10.0


@dataclass(frozen=True)
class FedDocuments:
    """What a page is told.

    Attributes:
        stream: Kinds and documents of the stream, in their order.
        answers: Of operations, by their tag.
        graph: Of any model.
        histories: Of `nodes` and of `models`, whichever is asked about.
    """

    stream: tuple[tuple[str, Any], ...]
    answers: Mapping[str, Any]
    graph: Any
    histories: Mapping[str, Any]


def fed_documents() -> FedDocuments:
    """The demo's three nodes and its model, as they once were."""
    fleet = _fleet({name: {"site": "home"} for name in NODES})
    answers = {operation: _recorded(name) for operation, name in _ANSWERS.items()}
    answers["list-links"] = fleet["links"]
    answers["list-nodes"] = fleet["nodes"]
    plan = answers["show-plan"]
    model = {"name": MODEL, "source": "device", "epoch": plan["epoch"], "serving": True, "deployed": True}
    model |= {"planned_unix_s": time.time() - 60, "paused": False, "completion": None}
    return FedDocuments(
        stream=(
            ("serving", {"controller_instance": "one"}),
            ("fleet", fleet),
            ("activity", _activity(list(NODES), fleet["links"], plan["epoch"])),
            ("status", _status(list(NODES))),
            ("models", [model]),
            *(("event", event) for event in _events()),
        ),
        answers=answers,
        graph=_recorded("graph"),
        histories={"nodes": _history(), "models": _history()},
    )


def large_fleet(nodes: int) -> FedDocuments:
    """So many nodes in sites of four; the model's plan is the recorded one."""
    base = fed_documents()
    names = [*NODES, *(f"node-{index:04d}" for index in range(nodes - len(NODES)))]
    fleet = _fleet({name: {"site": f"site-{index // _SITE:03d}"} for index, name in enumerate(names)}, linked=NODES)
    stream = tuple((kind, fleet if kind == "fleet" else document) for kind, document in base.stream)
    told = {"activity": _activity(names, fleet["links"], base.answers["show-plan"]["epoch"]), "status": _status(names)}
    stream = tuple((kind, told.get(kind, document)) for kind, document in stream)
    return replace(base, stream=stream, answers={**base.answers, "list-nodes": fleet["nodes"]})


def large_network(units: int, components: int = 24) -> FedDocuments:
    """A network of so many units, four branches wide, cut into components that take turns on the nodes."""
    base = fed_documents()
    names = [f"block{index // 16}/branch{index % 4}/convolution{index}" for index in range(units)]
    rows = [
        {"id": index, "name": name, "operators": [name], "kinds": ["Conv"], "flops": 1000 * index, "weight_bytes": 4096}
        for index, name in enumerate(names)
    ]
    edges = [
        {"from": index, "to": target, "tensor": f"{names[index]}/output", "nbytes": 65536}
        for index in range(units)
        for target in ((index + 4,) if (index // 4) % 4 else range((index // 4 + 1) * 4, (index // 4 + 2) * 4))
        if target < units
    ]
    ends = {
        "inputs": [{"tensor": "image", "nbytes": 196608, "units": [0, 1, 2, 3]}],
        "outputs": [{"tensor": "logits", "nbytes": 4096, "units": [units - 1]}],
    }
    size = -(-units // components)
    cut = [
        {"id": place, "node": NODES[place % len(NODES)], "operators": names[place * size : (place + 1) * size]}
        for place in range(components)
    ]
    plan = {**base.answers["show-plan"], "components": cut, "quantized": names[::9]}
    return replace(
        base,
        graph={**base.graph, "units": rows, "edges": edges, **ends},
        answers={**base.answers, "show-plan": plan},
    )


def renamed(documents: FedDocuments, rename: Callable[[str], str]) -> FedDocuments:
    """The same, with every name and sentence that strangers can set changed; keys of the protocol and codes stay."""
    chosen: set[str] = {*NODES, MODEL}
    whole = (documents.stream, documents.answers, documents.graph)
    _gather(msgspec.to_builtins(whole), chosen)
    return replace(
        documents,
        stream=tuple((kind, _changed(document, chosen, rename)) for kind, document in documents.stream),
        answers={name: _changed(document, chosen, rename) for name, document in documents.answers.items()},
        graph=_changed(documents.graph, chosen, rename),
    )


def _gather(value: Any, chosen: set[str], named: bool = False) -> None:
    if isinstance(value, str) and named and value:
        chosen.add(value)
    elif isinstance(value, dict):
        for key, inner in value.items():
            _gather(inner, chosen, key in _NAMED or key == "labels" or (key == "name" and named))
    elif isinstance(value, list | tuple):
        for inner in value:
            _gather(inner, chosen, named)


def _changed(value: Any, chosen: set[str], rename: Callable[[str], str]) -> Any:
    value = msgspec.to_builtins(value)
    if isinstance(value, str):
        return rename(value) if value in chosen else value
    if isinstance(value, dict):
        return {
            rename(key) if key in {*NODES, MODEL} else key: _changed(inner, chosen, rename)
            for key, inner in value.items()
        }
    return [_changed(inner, chosen, rename) for inner in value] if isinstance(value, list | tuple) else value


def _recorded(name: str) -> Any:
    return msgspec.json.decode((RECORDED / f"{name}.json").read_bytes())


def _fleet(labels: Mapping[str, dict[str, str]], linked: tuple[str, ...] = NODES) -> dict[str, Any]:
    nodes = [
        NodeRow(
            name=name,
            online=index % 50 != 49,
            advertise=f"10.0.{index // 250}.{index % 250}:7400",
            cpu_percent=float(index * 7 % 100),
            memory_available_bytes=(1 + index % 16) << 30,
            compute_w=3.0 + index % 5,
            transmit_w=1.0,
            power_origin="measured",
            version="0",
            runtime="onnxruntime 1.20",
            last_seen_s=1.0,
            labels=own,
        )
        for index, (name, own) in enumerate(labels.items())
    ]
    links = [
        LinkRow(from_=one, to=other, bandwidth_bytes_per_s=5e6, latency_s=0.005, age_s=2.0, origin="measured")
        for one in linked
        for other in linked
        if one != other
    ]
    return {"at_unix_s": time.time(), "nodes": msgspec.to_builtins(nodes), "links": msgspec.to_builtins(links)}


def _activity(nodes: list[str], links: Any, epoch: int) -> Any:
    model = ActiveModelRow(
        name=MODEL,
        source="device",
        epoch=epoch,
        requests_per_s=3.2,
        latency_p50_s=0.23,
        predicted_latency_s=0.225,
        energy_j=1.1,
        predicted_energy_j=1.02,
        energy_origin="configured",
        failed=0,
        nodes=("device", "edge"),
    )
    rows = tuple(
        ActiveNodeRow(
            name=name,
            state="online",
            cpu_percent=50.0,
            memory_available_bytes=1 << 30,
            drawn_w=None,
            serving_w=0.5,
            battery_fraction=0.7,
            models=(MODEL,) if name in NODES else (),
        )
        for name in nodes
    )
    document = ActivityDocument(
        at_unix_s=time.time(),
        models=(model,),
        nodes=rows,
        links=msgspec.convert(links, tuple[LinkRow, ...]),
        other_links=0,
    )
    return msgspec.to_builtins(document)


def _status(nodes: list[str]) -> Any:
    problem = ProblemRow(
        severity="warning", what="edge has configured watts alone", do="Name a sensor in its configuration."
    )
    rows = tuple(NodeStateRow(name=name, state="online", last_seen_s=1.0) for name in nodes)
    return msgspec.to_builtins(StatusDocument(ok=False, problems=(problem,), models=(), nodes=rows))


def _events() -> list[Any]:
    now_s = time.time()
    texts = ("link device -> edge went from 4.9 MB/s to 480 kB/s", "shapes epoch 4 serves: the link fell")
    kinds = ("link-changed", "epoch-activated")
    return [
        msgspec.to_builtins(
            Event(at_unix_s=now_s - 10 * index, origin="controller", kind=kind, text=text, model=MODEL, node="device")
        )
        for index, (kind, text) in enumerate(zip(kinds, texts, strict=True))
    ]


def _history() -> Any:
    now_s = time.time()
    keys = ("cpu_percent", "requests_per_s", "latency_p50_s", "predicted_latency_s", "energy_j", "failed_per_s")
    return {
        "step_s": _STEP_S,
        "at_unix_s": [now_s - _STEP_S * (_SAMPLES - index) for index in range(_SAMPLES)],
        "series": {key: [0.2 + 0.001 * (index % 50) for index in range(_SAMPLES)] for key in keys},
        "units": dict.fromkeys(keys, ""),
        "origin": dict.fromkeys(keys, "measured"),
        "epochs": [{"epoch": 4, "from_unix_s": now_s - 1800.0}],
    }
