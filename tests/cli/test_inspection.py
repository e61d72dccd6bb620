"""Status, top, trace and doctor: what is shown, what is written, how they end."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edgesplit.operations.fleet_operations import LinkRow
from edgesplit.operations.inspection.doctor_operation import CheckRow, Diagnose, DiagnosisDocument
from edgesplit.operations.inspection.status_operations import (
    ActiveModelRow,
    ActiveNodeRow,
    ActivityDocument,
    NodeStateRow,
    NoteRow,
    ProblemRow,
    ServedRow,
    ShowActivity,
    ShowStatus,
    StatusDocument,
)
from edgesplit.operations.inspection.trace_operation import ShowTrace, TraceClock, TraceDocument, TraceGap, TraceStep
from edgesplit.operations.plan_operations import ShowSource, SourceDocument
from edgesplit.planning.plan import TimelineEntry
from edgesplit.release import installed_version
from edgesplit.wire.tensor_spec import TensorSpec
from edgesplit.wire.tensors import Array
from edgesplit_controller.cli.traces.chrome_trace import chrome_trace
from edgesplit_controller.cli.traces.open_telemetry import Endpoint, export_spans, spans_of
from tests.cli.conftest import Run
from tests.cli.fakes import FakeAgent, FakeController
from tests.waiting import blocking_until

LONG = "greenhouse-raspberry-pi-4-by-the-door"
MODEL = "yolo11n-segmentation-of-tomatoes"
WELL = StatusDocument(
    ok=True,
    problems=(),
    models=(
        ServedRow(name=MODEL, serving=True, epoch=3, requests_per_s=4.2, latency_p50_s=0.041, failed=0, source=LONG),
    ),
    nodes=(NodeStateRow(name=LONG, state="online", last_seen_s=1.0),),
)
ILL = msgspec.structs.replace(
    WELL,
    ok=False,
    notes=(
        NoteRow(what=f"node {LONG} is drained since 3 h: plans leave it out", do=f"splitctl undrain {LONG}"),
        NoteRow(what="a controller on spare stands by to take over"),
    ),
    problems=(
        ProblemRow(
            severity="error",
            what=f"{MODEL} does not serve: its source {LONG} is offline",
            do=f"start edgesplit-agent on {LONG}, or deploy {MODEL} from another node",
        ),
        ProblemRow(severity="warning", what="node cloud is offline since 12 s", do="start edgesplit-agent there"),
    ),
    models=(
        *WELL.models,
        ServedRow(name="other", serving=False, epoch=None, requests_per_s=0.0, latency_p50_s=None, failed=0),
    ),
    nodes=(
        *WELL.nodes,
        *(NodeStateRow(name=f"edge-{number}", state="offline", last_seen_s=60.0) for number in range(30)),
    ),
)
ACTIVITY = ActivityDocument(
    at_unix_s=1.8e9,
    models=(
        ActiveModelRow(
            name=MODEL, source=LONG, epoch=3, requests_per_s=4.2, latency_p50_s=0.041, predicted_latency_s=0.038,
            energy_j=0.5, predicted_energy_j=0.45, energy_origin="configured", failed=0, nodes=(LONG, "cloud"),
        ),
    ),
    nodes=(
        ActiveNodeRow(
            name=LONG, state="online", cpu_percent=41.0, memory_available_bytes=1 << 30, drawn_w=5.1, serving_w=2.0,
            battery_fraction=0.8, models=(MODEL,),
        ),
        ActiveNodeRow(
            name="cloud", state="offline", cpu_percent=None, memory_available_bytes=None, drawn_w=None, serving_w=0.0,
            battery_fraction=None, models=(),
        ),
    ),
    links=(
        LinkRow(
            from_=LONG, to="cloud", bandwidth_bytes_per_s=1.2e6, latency_s=0.02, age_s=3.0, origin="measured"
        ),
        LinkRow(
            from_="cloud", to=LONG, bandwidth_bytes_per_s=1.2e6, latency_s=0.02, age_s=90.0, origin="measured", up=False
        ),
    ),
    other_links=4,
)  # fmt: skip
DIAGNOSIS = DiagnosisDocument(
    ok=False,
    at_unix_s=1.8e9,
    version="9.9",
    checks=(
        CheckRow(check="disk", subject="controller", verdict="ok", what="9 GB are free at /var/lib/edgesplit"),
        CheckRow(check="clock", subject="cloud", verdict="ok", what="the clock of cloud is 1 ms ahead"),
        CheckRow(check="sensor", subject=LONG, verdict="note", what=f"the power of {LONG} is configured", do="see docs"),
        CheckRow(
            check="artifacts", subject=LONG, verdict="error",
            what=f"{LONG} does not reach the controller's models at http://192.168.178.101:7480: connection refused",
            do="on the controller: [artifacts] listen and advertise, and a firewall in between",
        ),
    ),
)  # fmt: skip
TRACE = TraceDocument(
    model=MODEL,
    request="device-1-7",
    source=LONG,
    epoch=3,
    began_unix_s=1.8e9,
    latency_s=0.4,
    predicted_latency_s=0.35,
    steps=(
        TraceStep(
            kind="compute", node=LONG, epoch=3, component=0, start_s=0.0, end_s=0.12, predicted_start_s=0.0,
            predicted_end_s=0.1,
        ),
        TraceStep(
            kind="transfer", node=None, from_=LONG, to="cloud", epoch=3, tensors=("/model.22/act/Mul_output_0",),
            nbytes=1000, start_s=0.13, end_s=0.2, predicted_start_s=0.1, predicted_end_s=0.2,
        ),
        TraceStep(kind="compute", node="cloud", epoch=3, component=1, start_s=0.25, end_s=0.33, waited_s=0.05),
    ),
    predicted=(
        TimelineEntry(kind="compute", start_s=0.0, end_s=0.1, node=LONG, component=0),
        TimelineEntry(kind="transfer", start_s=0.1, end_s=0.2, source=LONG, target="cloud", tensor="x"),
        TimelineEntry(kind="compute", start_s=0.2, end_s=0.35, node="cloud", component=1),
    ),
    clocks=(TraceClock(node="cloud", ahead_s=5000.0, uncertain_s=0.0004, by="links"),),
    missing=(TraceGap(node="edge", reason="it is offline"),),
)  # fmt: skip


@pytest.fixture
def answering(controller: FakeController, monkeypatch: pytest.MonkeyPatch) -> FakeController:
    for name in ("ENDPOINT", "TRACES_ENDPOINT", "HEADERS"):
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_{name}", raising=False)
    controller.answers |= {
        ShowStatus: lambda _operation: ILL,
        ShowActivity: lambda _operation: ACTIVITY,
        Diagnose: lambda _operation: DIAGNOSIS,
        ShowTrace: lambda _operation: TRACE,
    }
    return controller


PAGES = (("status",), ("top", "--once"), ("doctor", "--all"), ("trace", MODEL))


@pytest.mark.parametrize("command", PAGES, ids=" ".join)
@pytest.mark.parametrize("columns", [80, 120])
def test_pages_fit_whatever_names_are_long(
    run: Run, answering: FakeController, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    told = run(*command).out
    lines = told.splitlines()
    assert max(map(len, lines)) <= columns, max(lines, key=len)
    assert [line for line in lines if line != line.rstrip()] == []
    assert LONG in told


def test_status_says_what_is_wrong_first_and_ends_with_1(run: Run, answering: FakeController) -> None:
    ran = run("status")
    assert ran.status == 1
    lines = ran.out.splitlines()
    assert lines[0] == "1 error, 1 warning"
    assert lines[1].startswith(f"error: {MODEL} does not serve")
    assert lines[2].lstrip().startswith("→ start edgesplit-agent on")
    assert "nodes: 1 online, 30 offline" in ran.out
    assert "and 22 more: see splitctl nodes" in ran.out
    assert len(lines) < 24


def test_status_of_a_fleet_that_is_well_ends_with_0(run: Run, answering: FakeController) -> None:
    answering.answers[ShowStatus] = lambda _operation: WELL
    ran = run("status")
    assert (ran.status, ran.out.splitlines()[0]) == (0, "nothing is wrong")
    assert "serves from" in ran.out
    assert "41 ms" in ran.out


def test_status_for_programs(run: Run, answering: FakeController) -> None:
    ran = run("status", "--json")
    assert ran.status == 1
    assert (ran.document["ok"], ran.document["problems"][0]["severity"]) == (False, "error")
    assert ran.document["models"][0]["latency_p50_s"] == 0.041
    assert msgspec.convert(ran.document, StatusDocument) == ILL


def test_top_prints_once_where_nobody_watches(run: Run, answering: FakeController) -> None:
    ran = run("top")
    assert ran.status == 0
    for shown in ("4.2/s", "41 ms", "38 ms", "500 mJ", "450 mJ", "41 %", "5.1 W", "1.2 MB/s", "down", "4 other links"):
        assert shown in ran.out, shown
    assert msgspec.convert(run("top", "--json").document, ActivityDocument) == ACTIVITY


def test_top_is_live_on_a_terminal_and_ctrl_c_ends_it_cleanly(broker: str, answering: FakeController) -> None:
    main, terminal = pty.openpty()
    environment = os.environ | {"EDGESPLIT_BROKER": broker, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    command = [sys.executable, "-m", "edgesplit_controller.cli.entry", "top", "--interval", "0.05"]
    running = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=subprocess.PIPE, env=environment)
    os.close(terminal)
    shown = bytearray()

    def read() -> None:
        while True:
            try:
                part = os.read(main, 65536)
            except OSError:  # the other side is closed
                return
            shown.extend(part)
            if not part:
                return

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    blocking_until(lambda: len(answering.operations) >= 4, "it asks again and again")
    blocking_until(lambda: MODEL.encode() in shown, "it shows the model")
    running.send_signal(signal.SIGINT)
    _, complaint = running.communicate(timeout=30)
    reader.join(10)
    os.close(main)
    assert (running.returncode, complaint) == (0, b"")
    assert b"\x1b[?1049h" in shown  # a screen of its own
    assert b"\x1b[?1049l" in shown  # and the one before it again


def test_doctor_counts_what_is_well_and_shows_the_rest(run: Run, answering: FakeController) -> None:
    ran = run("doctor")
    assert ran.status == 1
    lines = ran.out.splitlines()
    assert lines[0].startswith("error, artifacts: ")
    assert lines[1].lstrip().startswith("→ on the controller")
    assert "9 GB" not in ran.out
    assert "ok: broker, disk, clock; --all shows them" in ran.out
    assert "9 GB" in run("doctor", "--all").out
    answering.operations.clear()
    run("doctor", "cloud")
    assert Diagnose(node="cloud") in answering.operations


def test_doctor_compares_this_machine_with_the_controller(run: Run, answering: FakeController) -> None:
    found = {row["check"]: row for row in run("doctor", "--json").document["checks"] if row["subject"] == "splitctl"}
    assert found["broker"]["verdict"] == "ok"
    assert found["clock"]["verdict"] == "warning"  # the answer says that it is of 2027
    assert "NTP" in found["clock"]["do"]
    assert found["version"]["verdict"] == "note"
    assert installed_version() in found["version"]["what"]


def test_trace_shows_measured_beside_predicted(run: Run, answering: FakeController) -> None:
    ran = run("trace", MODEL)
    assert ran.status == 0
    assert f"{MODEL}: 400 ms (predicted 350 ms) from {LONG} on epoch 3" in ran.out
    drawn = [line for line in ran.out.splitlines() if "█" in line or "━" in line]
    assert sum("measured" in line for line in drawn) == 3
    assert sum("predicted" in line for line in drawn) == 3
    assert "times of cloud are placed to ± 400 µs, by pings and the order of what was sent" in ran.out
    assert "nothing is known of edge: it is offline" in ran.out
    assert msgspec.convert(run("trace", MODEL, "--json").document, TraceDocument) == TRACE


def test_a_trace_is_written_for_perfetto(run: Run, answering: FakeController, tmp_path: Path) -> None:
    file = tmp_path / "trace.json"
    assert run("trace", MODEL, "--out", file).status == 0
    assert file.read_bytes() == chrome_trace(TRACE)
    written = json.loads(file.read_text())
    events = written["traceEvents"]
    names = {event["pid"]: event["args"]["name"] for event in events if event["name"] == "process_name"}
    assert set(names.values()) == {LONG, "cloud"}
    slices = [event for event in events if event["ph"] == "X"]
    assert len(slices) == 6
    assert all(event["dur"] >= 0 and isinstance(event["ts"], float) for event in slices)
    (first,) = [event for event in slices if event["name"] == "component 0" and event["cat"] == "compute"]
    assert (names[first["pid"]], first["ts"], first["dur"]) == (LONG, 0.0, pytest.approx(120_000.0))
    (departure,), (arrival,) = ([event for event in events if event["ph"] == sign] for sign in "sf")
    assert departure["id"] == arrival["id"]
    assert (names[departure["pid"]], names[arrival["pid"]]) == (LONG, "cloud")
    assert (departure["ts"], arrival["ts"]) == (pytest.approx(130_000.0), pytest.approx(200_000.0))
    threads = {(event["pid"], event["tid"]) for event in events if event["name"] == "thread_name"}
    assert {(event["pid"], event["tid"]) for event in slices} <= threads


class _Collector(BaseHTTPRequestHandler):
    """Takes spans as a collector does."""

    taken: list[tuple[str, dict[str, str], Any]]
    status = 200

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.taken.append((self.path, dict(self.headers), json.loads(body)))
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Nothing."""


@pytest.fixture
def collector() -> Iterator[tuple[str, type[_Collector]]]:
    handler = type("Collector", (_Collector,), {"taken": []})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", handler
        server.shutdown()


def test_spans_go_where_the_environment_says(
    run: Run, answering: FakeController, collector: tuple[str, type[_Collector]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, handler = collector
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"{url}/")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20secret, other=1")
    ran = run("trace", MODEL, "--json")
    assert ran.status == 0
    assert ran.document["request"] == "device-1-7"
    assert "its spans were sent to" in ran.err
    ((path, headers, body),) = handler.taken
    assert path == "/v1/traces"
    assert (headers["api-key"], headers["other"], headers["Content-Type"]) == ("a secret", "1", "application/json")
    spans = [span for part in body["resourceSpans"] for scope in part["scopeSpans"] for span in scope["spans"]]
    assert len({span["traceId"] for span in spans}) == 1
    assert len({span["spanId"] for span in spans}) == len(spans) == 4
    (root,) = [span for span in spans if "parentSpanId" not in span]
    assert {span.get("parentSpanId", root["spanId"]) for span in spans} == {root["spanId"]}
    assert int(root["endTimeUnixNano"]) - int(root["startTimeUnixNano"]) == pytest.approx(4e8, rel=1e-6)
    assert all(len(span["traceId"]) == 32 and len(span["spanId"]) == 16 for span in spans)
    assert spans_of(TRACE) == spans_of(TRACE)
    instances = {
        attribute["value"]["stringValue"]
        for part in body["resourceSpans"]
        for attribute in part["resource"]["attributes"]
        if attribute["key"] == "service.instance.id"
    }
    assert instances == {LONG, "cloud"}


def test_spans_that_cannot_be_sent_are_a_warning(
    run: Run, answering: FakeController, collector: tuple[str, type[_Collector]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, handler = collector
    handler.status = 503
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{url}/here")
    ran = run("trace", MODEL)
    assert (ran.status, handler.taken[0][0]) == (0, "/here")
    assert "refuses the spans with status 503" in ran.err
    assert "name http://HOST:4318" in asyncio.run(export_spans(TRACE, Endpoint("grpc://collector:4317", {})))
    assert "4318" in asyncio.run(export_spans(TRACE, Endpoint("http://127.0.0.1:9/v1/traces", {})))


def test_where_no_request_is_remembered_one_is_sent(run: Run, answering: FakeController, tmp_path: Path) -> None:
    sent: list[dict[str, Array]] = []

    def compute(arrays: dict[str, Array]) -> tuple[dict[str, Array], int]:
        sent.append(arrays)
        return arrays, 3

    with FakeAgent(compute) as agent:
        spec = TensorSpec(name="x", dtype="float32", shape=(1, 4))
        source = SourceDocument(
            model=MODEL, source=LONG, via=LONG, address=agent.address, epoch=3, inputs=(spec,), outputs=(spec,)
        )
        answering.answers[ShowSource] = lambda _operation: source
        answering.answers[ShowTrace] = lambda _operation: TRACE if sent else msgspec.structs.replace(TRACE, request="")
        ran = run("trace", MODEL)
        assert ran.status == 0
        assert "one of made-up numbers is sent" in ran.err
        assert [arrays["x"].shape for arrays in sent] == [(1, 4)]
        np.savez(tmp_path / "in.npz", x=np.full((1, 4), 7, np.float32))
        assert run("trace", MODEL, "--input", tmp_path / "in.npz").status == 0
        assert sent[-1]["x"].tolist() == [[7.0, 7.0, 7.0, 7.0]]


def test_a_request_that_is_not_remembered_is_said_so(run: Run, answering: FakeController, tmp_path: Path) -> None:
    answering.answers[ShowTrace] = lambda _operation: msgspec.structs.replace(TRACE, request="")
    ran = run("trace", MODEL, "--request", "device-1-9")
    assert ran.status == 1
    assert "remembers no request device-1-9" in ran.err
    file = tmp_path / "in.npz"
    file.touch()
    assert run("trace", MODEL, "--request", "a", "--input", file).status == 2
