"""When a node's certificate ends is a metric, from the start on and after each renewal."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import generate_latest

from edgesplit.daemon.security_section import SecuritySection
from edgesplit.trust.credentials import Credentials
from edgesplit_agent.assembly import make_renewal
from edgesplit_agent.configuration import AgentConfiguration
from edgesplit_agent.reporting.metrics import PrometheusMetrics
from edgesplit_agent.reporting.metrics_page import registry_of
from tests.trust.authorities import DAY, MadeAuthority

METRIC = "edgesplit_certificate_expires_timestamp_seconds"


def shown(metrics: PrometheusMetrics) -> list[float]:
    """Values of the metric."""
    lines = generate_latest(registry_of(metrics)).decode().splitlines()
    return [float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{METRIC}{{")]


async def test_the_end_of_the_certificate_is_shown_and_follows_it(tmp_path: Path) -> None:
    authority, metrics, told = MadeAuthority(), PrometheusMetrics("camera", "1"), list[str]()
    files = authority.files(tmp_path, uri="edgesplit://node/camera", ends=5 * DAY)
    section = SecuritySection(mode="fleet", folder=str(tmp_path), renew=False)
    configuration = AgentConfiguration(name="camera", security=section)
    renewal = make_renewal(configuration, metrics, lambda: "", lambda kind, _: told.append(kind))
    assert renewal is not None
    assert shown(metrics) == [Credentials.load(files).facts.expires_s]
    authority.files(tmp_path, uri="edgesplit://node/camera", ends=30 * DAY)
    await renewal.look()
    assert shown(metrics) == [Credentials.load(files).facts.expires_s]
    assert told == ["certificate-renewed"]


def test_without_security_there_is_neither_renewal_nor_metric() -> None:
    metrics = PrometheusMetrics("camera", "1")
    assert make_renewal(AgentConfiguration(name="camera"), metrics, lambda: "", lambda *_: None) is None
    assert shown(metrics) == []
