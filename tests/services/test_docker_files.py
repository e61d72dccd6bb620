"""What docker/ brings along besides the images: settings that load, a health check that tells."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from edgesplit.daemon.configuration_file import load_configuration
from edgesplit_agent.configuration import AgentConfiguration
from edgesplit_controller.configuration import ControllerConfiguration

DOCKER = Path(__file__).resolve().parents[2] / "docker"


@contextmanager
def page_with(status: int) -> Iterator[str]:
    """A page on loopback that always answers with a status."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"said")

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/health"
        server.shutdown()


def check(url: str) -> tuple[int, str]:
    """Exit status and output of the images' health check."""
    command = [sys.executable, str(DOCKER / "healthcheck.py"), url]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_a_page_that_answers_is_healthy() -> None:
    with page_with(200) as url:
        assert check(url) == (0, "said\n")


def test_a_page_that_refuses_is_not() -> None:
    with page_with(503) as url:
        status, said = check(url)
    assert (status, said) == (1, "HTTP Error 503: Service Unavailable\n")


def test_a_daemon_that_is_not_there_is_not() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        status, said = check(f"http://127.0.0.1:{bound.getsockname()[1]}/health")
    assert status == 1
    assert "refused" in said


def test_the_settings_of_the_compose_file_load() -> None:
    agent: AgentConfiguration = load_configuration(AgentConfiguration, DOCKER / "agent.toml", {}).values
    assert agent.broker.url == "mqtt://broker:1883"
    loaded = load_configuration(ControllerConfiguration, DOCKER / "controller.toml", {})
    controller: ControllerConfiguration = loaded.values
    controller.validate()
    assert controller.artifacts.advertise == "controller:7480"


def test_the_variables_of_the_compose_file_exist() -> None:
    agent_variables = re.findall(r"EDGESPLIT_(?:NAME|DATA_\w+)(?=:)", (DOCKER / "compose.yaml").read_text())
    assert set(agent_variables) == {"EDGESPLIT_NAME", "EDGESPLIT_DATA_ADVERTISE"}
    environment = {"EDGESPLIT_NAME": "edge", "EDGESPLIT_DATA_ADVERTISE": "edge:7400"}
    agent: AgentConfiguration = load_configuration(AgentConfiguration, DOCKER / "agent.toml", environment).values
    assert (agent.name, agent.data.advertise) == ("edge", "edge:7400")


def test_no_image_names_a_registry() -> None:
    for name in ("Dockerfile", "compose.yaml"):
        text = (DOCKER / name).read_text()
        images = re.findall(r"(?:^ARG PYTHON_IMAGE=|_IMAGE:-)([^}\s]+)", text, re.MULTILINE)
        assert images
        assert not [image for image in images if "/" in image]
