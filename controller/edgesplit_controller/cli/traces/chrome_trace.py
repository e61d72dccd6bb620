"""A traced request in the Chrome trace format, which ui.perfetto.dev and chrome://tracing show.

Owns: that format. Its rule: each node is a process with what was measured and what was predicted as its threads, each link two threads of its
sender; arrows lead from a tensor's departure to where it arrived. Not here: writing the file.

References: Trace Event Format, Google, 2016 (events X: complete, M: metadata, s and f: flow; times in microseconds).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from edgesplit.operations.inspection.trace_operation import TraceDocument, TraceStep
from edgesplit.planning.plan import TimelineEntry

__all__ = ["chrome_trace", "step_name"]

MEASURED, PREDICTED, FIRST_LINK = 1, 2, 3
"""Threads of a node."""
_Event = dict[str, Any]


def chrome_trace(document: TraceDocument) -> bytes:
    """The whole file, JSON."""
    nodes = _nodes(document)
    events = [
        *_names(document, nodes),
        *(_slice(step, nodes) for step in document.steps),
        *(event for number, step in enumerate(document.steps) for event in _arrow(number, step, nodes)),
        *(_foreseen(entry, nodes) for entry in document.predicted),
    ]
    about = {"model": document.model, "request": document.request, "epoch": document.epoch, "source": document.source}
    file = {"traceEvents": events, "displayTimeUnit": "ms", "otherData": about}
    return msgspec.json.format(msgspec.json.encode(file), indent=1)


def step_name(step: TraceStep) -> str:
    """What a step is called for people."""
    if step.kind == "compute":
        return f"component {step.component}"
    tensors = ", ".join(step.tensors)
    return tensors if step.kind == "transfer" else f"{step.kind} {tensors}"


def _nodes(document: TraceDocument) -> dict[str, int]:
    """Process numbers, the source's first."""
    named = [document.source]
    for step in document.steps:
        named += [name for name in (step.node, step.from_, step.to) if name is not None]
    for entry in document.predicted:
        named += [name for name in (entry.node, entry.source, entry.target) if name is not None]
    return {name: number for number, name in enumerate(dict.fromkeys(named), 1)}


def _names(document: TraceDocument, nodes: dict[str, int]) -> Iterator[_Event]:
    for name, process in nodes.items():
        yield {"ph": "M", "name": "process_name", "pid": process, "args": {"name": name}}
        yield {"ph": "M", "name": "process_sort_index", "pid": process, "args": {"sort_index": process}}
        threads = {MEASURED: "measured", PREDICTED: "predicted"}
        if name in {step.from_ for step in document.steps} | {entry.source for entry in document.predicted}:
            for other, number in nodes.items():
                threads[_link(number)] = f"to {other}, measured"
                threads[_link(number) + 1] = f"to {other}, predicted"
        for thread, text in threads.items():
            yield {"ph": "M", "name": "thread_name", "pid": process, "tid": thread, "args": {"name": text}}


def _link(number: int) -> int:
    """Thread of what goes to a process, as measured; the one behind it is as predicted."""
    return FIRST_LINK + 2 * number


def _slice(step: TraceStep, nodes: dict[str, int]) -> _Event:
    process, thread = _place(step, nodes)
    return {
        "ph": "X",
        "name": step_name(step),
        "cat": step.kind,
        "pid": process,
        "tid": thread,
        "ts": 1e6 * step.start_s,
        "dur": 1e6 * max(step.end_s - step.start_s, 0.0),
        "args": {"epoch": step.epoch, "tensors": step.tensors, "nbytes": step.nbytes, "waited_s": step.waited_s},
    }


def _place(step: TraceStep, nodes: dict[str, int]) -> tuple[int, int]:
    if step.from_ is not None and step.to is not None:
        return nodes[step.from_], _link(nodes[step.to])
    return nodes[step.node or ""], MEASURED


def _arrow(number: int, step: TraceStep, nodes: dict[str, int]) -> Iterator[_Event]:
    """From a tensor's departure to what it arrived for."""
    if step.from_ is None or step.to is None:
        return
    common = {"name": "tensor", "cat": "transfer", "id": number}
    process, thread = _place(step, nodes)
    yield {"ph": "s", **common, "pid": process, "tid": thread, "ts": 1e6 * step.start_s}
    yield {"ph": "f", **common, "pid": nodes[step.to], "tid": MEASURED, "ts": 1e6 * step.end_s}


def _foreseen(entry: TimelineEntry, nodes: dict[str, int]) -> _Event:
    if entry.source is not None and entry.target is not None:
        process, thread = nodes[entry.source], _link(nodes[entry.target]) + 1
    else:
        process, thread = nodes[entry.node or ""], PREDICTED
    name = f"component {entry.component}" if entry.kind == "compute" else f"{entry.kind} {entry.tensor}"
    return {
        "ph": "X",
        "name": name.removeprefix("transfer "),
        "cat": f"predicted {entry.kind}",
        "pid": process,
        "tid": thread,
        "ts": 1e6 * entry.start_s,
        "dur": 1e6 * (entry.end_s - entry.start_s),
    }
