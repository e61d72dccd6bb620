"""What an agent does not load before it needs it."""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from demo.fleet import EmulatedNode, LocalFleet
from tests.waiting import blocking_until

HEAVY = (
    *("numpy", "ml_dtypes", "aiohttp", "prometheus_client", "cryptography", "zstandard"),
    *("onnxruntime", "onnx", "ortools", "networkx"),
)
OWN = ("edgesplit.operations.operation", "edgesplit_agent.reporting.metrics_page", "edgesplit_agent.openinference")
"""What splitctl asks of the controller, and what answers HTTP."""
_IMPORTED = re.compile(r"^import time:[ \d|]+\| +([\w.]+)$", re.MULTILINE)


def test_an_agent_without_a_model_or_an_authority_loads_no_runtime_and_no_cryptography() -> None:
    code = (
        "import sys, edgesplit_agent.main, edgesplit_agent.daemon\n"
        "print(' '.join(name for name in sys.argv[1:] if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, *HEAVY], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_running_agent_loads_nothing_heavy_until_it_is_asked_by_http(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real agent, online beside a controller; Python itself writes what it imports into the agent's log."""
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")

    def loaded() -> set[str]:
        return {name for name in (*HEAVY, *OWN) if name in _IMPORTED.findall(fleet.log("device"))}

    with LocalFleet(tmp_path, [EmulatedNode("device", 5.0, 2.0)]) as fleet:
        fleet.start()
        fleet.await_nodes()
        blocking_until((tmp_path / "cache" / "device" / "operator-sets.json").exists, "the start is over")
        assert loaded() == set()
        url = f"http://127.0.0.1:{fleet.http_ports['device']}/metrics"
        with urllib.request.urlopen(url, timeout=60) as answer:
            assert b"edgesplit_agent_info" in answer.read()
        assert loaded() == {
            "aiohttp",
            "prometheus_client",
            "edgesplit_agent.reporting.metrics_page",
            "edgesplit_agent.openinference",
        }
