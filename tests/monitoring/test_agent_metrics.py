"""An agent's metrics: series of epochs go with them, what was refused is told from what failed, energy says how it is known."""

from __future__ import annotations

from prometheus_client import generate_latest

from edgesplit.wire.headers import ExecutionKey
from edgesplit_agent.reporting.collectors.power.sensor import Power
from edgesplit_agent.reporting.metrics import PrometheusMetrics
from edgesplit_agent.reporting.metrics_page import registry_of
from edgesplit_agent.reporting.serving_counters import ServingCounters
from edgesplit_agent.reporting.usage import UsageBook
from tests.monitoring.promtool import declared, promtool


def counters() -> tuple[PrometheusMetrics, ServingCounters]:
    metrics = PrometheusMetrics("camera", "1")
    power = Power(compute_w=4.0, transmit_w=2.0, origin="configured", sensor="constant")
    return metrics, ServingCounters(UsageBook("camera", power, metrics.spent), metrics)


def lines(metrics: PrometheusMetrics, *words: str) -> list[str]:
    """Samples of a page that have all of these words."""
    page = generate_latest(registry_of(metrics)).decode().splitlines()
    return [line for line in page if not line.startswith("#") and all(word in line for word in words)]


def test_latencies_are_told_by_epoch_as_long_as_it_is_held() -> None:
    metrics, serving = counters()
    for epoch in range(1, 200):
        serving.begin("yolo", epoch)
        serving.completed("yolo", epoch, 0.2)
        serving.forget("yolo", epoch - 1)
    held = {line.partition('epoch="')[2].partition('"')[0] for line in lines(metrics, "latency_seconds")}
    assert held == {"199"}
    assert lines(metrics, "edgesplit_requests_total") == ['edgesplit_requests_total{model="yolo",node="camera"} 199.0']


def test_an_epoch_without_a_request_has_its_series_already() -> None:
    metrics, serving = counters()
    serving.begin("yolo", 3)
    (count,) = lines(metrics, "latency_seconds_count", 'epoch="3"')
    assert count.endswith(" 0.0")


def test_what_was_not_taken_in_did_not_fail() -> None:
    metrics, serving = counters()
    for code in ("overloaded", "invalid-tensor", "sizes-refused", "request-timed-out", "peer-unreachable"):
        serving.failed("yolo", None, code)
    serving.failed("whatever a client wrote", None, "unknown-model")
    refused = {line.partition('code="')[2].partition('"')[0] for line in lines(metrics, "request_refusals_total")}
    failed = {line.partition('code="')[2].partition('"')[0] for line in lines(metrics, "request_failures_total")}
    assert refused == {"overloaded", "invalid-tensor", "sizes-refused", "unknown-model"}
    assert failed == {"request-timed-out", "peer-unreachable"}
    assert not lines(metrics, "whatever")


def test_energy_adds_up_by_model_part_and_origin() -> None:
    metrics, serving = counters()
    key = ExecutionKey("yolo", 1, "r")
    serving.computed(key, 0.5)
    serving.computed(key, 0.5)
    serving.sent("edge", key, 1000, 0.25)
    labels = 'model="yolo",node="camera",origin="configured"'
    assert lines(metrics, "energy_joules_total") == [
        f'edgesplit_energy_joules_total{{{labels},part="compute"}} 4.0',
        f'edgesplit_energy_joules_total{{{labels},part="transmit"}} 0.5',
    ]


def test_a_model_that_is_gone_shows_no_epoch_and_no_noise() -> None:
    metrics, serving = counters()
    serving.serving("yolo", 4)
    serving.checked("yolo", 0.1)
    assert len(lines(metrics, "yolo")) == 2
    serving.gone("yolo")
    serving.gone("never there")
    assert lines(metrics, "yolo") == []


def test_figures_are_read_when_somebody_asks_and_what_is_not_known_is_not_shown() -> None:
    metrics, _ = counters()
    value: float | None = 3.0
    metrics.show_now("compute_queue_jobs", "Jobs that wait.", lambda: value)
    assert lines(metrics, "compute_queue_jobs") == ['edgesplit_compute_queue_jobs{node="camera"} 3.0']
    value = None
    assert lines(metrics, "compute_queue_jobs") == []


def test_a_page_keeps_to_the_conventions() -> None:
    metrics, serving = counters()
    serving.begin("yolo", 1)
    serving.completed("yolo", 1, 0.2)
    serving.failed("yolo", 1, "request-failed")
    page = generate_latest(registry_of(metrics))
    assert not [name for name in declared(page.decode()) if name.endswith("_created")]
    assert promtool("check", "metrics", said=page) == ""
