"""Alert rules and the dashboard: Prometheus reads them, and every alert is seen to fire."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.monitoring.promtool import MONITORING, metrics_of, promtool

RULES, CASES = MONITORING / "alerts.yaml", MONITORING / "alerts.test.yaml"
DASHBOARD = json.loads((MONITORING / "grafana-dashboard.json").read_text())
GRAFANAS = {"$__rate_interval": "5m", "$model": ".*", "$node": ".*"}


def dashboard_expressions() -> Iterator[str]:
    """As Grafana asks for them."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"]
            for variable, value in GRAFANAS.items():
                expression = expression.replace(variable, value)
            yield expression


def dashboard_variables() -> set[str]:
    """Metrics that its variables take their values from."""
    return set().union(
        *(
            metrics_of(variable["definition"])
            for variable in DASHBOARD["templating"]["list"]
            if "definition" in variable
        )
    )


def alert_names(text: str) -> list[str]:
    return re.findall(r"alert: (\w+)", text)


def test_prometheus_reads_the_rules() -> None:
    assert f"{len(alert_names(RULES.read_text()))} rules found" in promtool("check", "rules", str(RULES))


def test_every_alert_fires_when_it_should_and_a_healthy_fleet_raises_none() -> None:
    assert "SUCCESS" in promtool("test", "rules", str(CASES))
    fired = set(re.findall(r'labels: \'ALERTS\{alertname="(\w+)",alertstate="firing"', CASES.read_text()))
    assert fired == set(alert_names(RULES.read_text()))


def test_every_alert_says_what_is_wrong_and_what_to_do() -> None:
    for rule in RULES.read_text().split("- alert: ")[1:]:
        assert re.search(r"severity: (info|warning|critical)", rule), rule
        assert re.search(r"summary: .{20}", rule) and re.search(r"action: .{20}", rule), rule


def test_prometheus_reads_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    rules = "".join(
        f"  - record: panel:{number}\n    expr: {json.dumps(expression)}\n"
        for number, expression in enumerate(dashboard_expressions())
    )
    path = tmp_path / "dashboard.yaml"
    path.write_text(f"groups:\n- name: dashboard\n  rules:\n{rules}")
    assert f"{len(list(dashboard_expressions()))} rules found" in promtool("check", "rules", str(path))


def test_every_expression_of_the_dashboard_reads_a_metric_and_has_no_variable_left() -> None:
    for expression in dashboard_expressions():
        assert metrics_of(expression), expression
        assert "$" not in expression


def test_panels_lie_beside_each_other() -> None:
    panels: list[dict[str, Any]] = DASHBOARD["panels"]
    cells = Counter(
        (x, y)
        for panel in panels
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    )
    assert max(cells.values()) == 1
    assert max(x for x, _ in cells) == 23
    identifiers = [panel["id"] for panel in panels]
    assert len(set(identifiers)) == len(identifiers)
