"""A traced request as OpenTelemetry spans, sent to a collector: OTLP over HTTP, in JSON.

Owns: spans and their way. Its rule: the environment variables of OpenTelemetry say where to, and what cannot be sent is said in a sentence and
spoils nothing. Not here: what happened (the controller's document).

One trace is one request; its identifier follows from the request's, so that one sent twice is one. Each node is a resource.

References: OpenTelemetry Protocol 1.3, 2024 (OTLP/HTTP, JSON Protobuf encoding); OpenTelemetry Protocol Exporter, environment variables.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from edgesplit.operations.inspection.trace_operation import TraceDocument, TraceStep
from edgesplit.release import installed_version
from edgesplit_controller.cli.traces.chrome_trace import step_name

__all__ = ["Endpoint", "endpoint_from_environment", "export_spans", "spans_of"]

SEND_S = 5.0
INTERNAL, CLIENT = 1, 3
"""Kinds of spans: within a node, and what goes to another."""


@dataclass(frozen=True)
class Endpoint:
    """Where spans go.

    Attributes:
        url: Whole.
        headers: Sent with them, such as a key.
    """

    url: str
    headers: Mapping[str, str]


def endpoint_from_environment() -> Endpoint | None:
    """As OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT say; None where neither is set."""
    whole, base = (os.environ.get(f"OTEL_EXPORTER_OTLP_{name}", "") for name in ("TRACES_ENDPOINT", "ENDPOINT"))
    if not whole and not base:
        return None
    pairs = (pair.partition("=") for pair in os.environ.get("OTEL_EXPORTER_OTLP_HEADERS", "").split(",") if "=" in pair)
    headers = {name.strip(): unquote(value.strip()) for name, _, value in pairs}
    return Endpoint(whole or f"{base.rstrip('/')}/v1/traces", headers)


async def export_spans(document: TraceDocument, endpoint: Endpoint) -> str:
    """Send them; why that failed, in a sentence, or nothing."""
    import aiohttp  # noqa: PLC0415 - who has no collector does without

    if urlsplit(endpoint.url).scheme not in {"http", "https"}:
        return f"spans go over HTTP, and {endpoint.url} is no such address: name http://HOST:4318"
    headers = {"Content-Type": "application/json", **endpoint.headers}
    try:
        async with (
            asyncio.timeout(SEND_S),
            aiohttp.ClientSession() as session,
            session.post(endpoint.url, data=spans_of(document), headers=headers) as response,
        ):
            if response.status < 300:
                return ""
            return f"{endpoint.url} refuses the spans with status {response.status}: see the collector's log"
    except TimeoutError:
        cause = f"nothing answers within {SEND_S:g} s"
    except (aiohttp.ClientError, OSError) as error:
        cause = str(error)
    return f"the spans were not sent to {endpoint.url} ({cause}): OTLP over HTTP is usually at port 4318"


def spans_of(document: TraceDocument) -> bytes:
    """The body of the request, JSON."""
    nodes = dict.fromkeys((document.source, *(_teller(step) for step in document.steps)))
    return msgspec.json.encode({"resourceSpans": [_resource(document, node) for node in nodes]})


def _resource(document: TraceDocument, node: str) -> dict[str, Any]:
    about = {"service.name": "edgesplit-agent", "service.instance.id": node}
    scope = {"name": "edgesplit", "version": installed_version()}
    spans = [_span(document, number, step) for number, step in enumerate(document.steps) if _teller(step) == node]
    if node == document.source:
        spans.insert(0, _root(document))
    return {"resource": {"attributes": _attributes(about)}, "scopeSpans": [{"scope": scope, "spans": spans}]}


def _root(document: TraceDocument) -> dict[str, Any]:
    about: dict[str, str | int | float | None] = {
        "edgesplit.model": document.model,
        "edgesplit.request": document.request,
        "edgesplit.epoch": document.epoch,
        "edgesplit.predicted_latency_s": document.predicted_latency_s,
    }
    return {
        **_identity(document, "root"),
        "name": f"infer {document.model}",
        "kind": INTERNAL,
        **_times(document, 0.0, document.latency_s),
        "attributes": _attributes(about),
    }


def _span(document: TraceDocument, number: int, step: TraceStep) -> dict[str, Any]:
    predicted_s = None
    if step.predicted_start_s is not None and step.predicted_end_s is not None:
        predicted_s = step.predicted_end_s - step.predicted_start_s
    about: dict[str, str | int | float | None] = {
        "edgesplit.kind": step.kind,
        "edgesplit.epoch": step.epoch,
        "edgesplit.to": step.to,
        "edgesplit.bytes": step.nbytes or None,
        "edgesplit.waited_s": step.waited_s,
        "edgesplit.predicted_s": predicted_s,
    }
    return {
        **_identity(document, str(number)),
        "parentSpanId": _identity(document, "root")["spanId"],
        "name": step_name(step),
        "kind": CLIENT if step.kind == "transfer" else INTERNAL,
        **_times(document, step.start_s, step.end_s),
        "attributes": _attributes(about),
    }


def _teller(step: TraceStep) -> str:
    """Whose span it is: of a transfer, the sender's."""
    return step.from_ or step.node or ""


def _identity(document: TraceDocument, part: str) -> dict[str, str]:
    trace = hashlib.sha256(f"{document.model} {document.request}".encode()).hexdigest()
    return {"traceId": trace[:32], "spanId": hashlib.sha256(f"{trace} {part}".encode()).hexdigest()[:16]}


def _times(document: TraceDocument, start_s: float, end_s: float) -> dict[str, str]:
    """Nanoseconds since the epoch; 64-bit integers are texts in this encoding."""
    began_ns = int(document.began_unix_s * 1e9)
    return {
        "startTimeUnixNano": str(began_ns + int(start_s * 1e9)),
        "endTimeUnixNano": str(began_ns + int(max(start_s, end_s) * 1e9)),
    }


def _attributes(said: Mapping[str, str | int | float | None]) -> list[dict[str, Any]]:
    return [{"key": name, "value": value} for name, value in _values(said)]


def _values(said: Mapping[str, str | int | float | None]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, value in said.items():
        if isinstance(value, str):
            yield name, {"stringValue": value}
        elif isinstance(value, int):
            yield name, {"intValue": str(value)}
        elif value is not None:
            yield name, {"doubleValue": value}
