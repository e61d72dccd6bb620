"""What docker/ brings along besides the images: settings that load, a health check that tells."""

from __future__ import annotations

import re
import socket
import ssl
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
from tests.trust.authorities import MadeAuthority

DOCKER = Path(__file__).resolve().parents[2] / "docker"


@contextmanager
def page_with(status: int, context: ssl.SSLContext | None = None) -> Iterator[str]:
    """A page on loopback that always answers with a status; over TLS with a context."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"said")

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/health"
        server.shutdown()


def check(*arguments: str) -> tuple[int, str]:
    """Exit status and output of the images' health check."""
    command = [sys.executable, str(DOCKER / "healthcheck.py"), *arguments]
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


def test_a_daemon_of_a_fleet_is_asked_over_tls(tmp_path: Path) -> None:
    files = MadeAuthority("shop").files(tmp_path, addresses=("127.0.0.1",))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    with page_with(200, context) as url:
        assert check(url, str(files.authority)) == (0, "said\n")
        assert check(url)[0] == 1
    with page_with(200) as url:
        assert check(url, str(tmp_path / "none.pem")) == (0, "said\n")


def test_the_settings_of_the_compose_file_load() -> None:
    loaded = load_configuration(ControllerConfiguration, DOCKER / "controller.toml", {})
    controller: ControllerConfiguration = loaded.values
    controller.validate()
    assert controller.artifacts.advertise == "controller:7480"
    assert controller.broker.url.startswith("mqtts://")
    assert controller.security.secured


def test_the_variables_of_the_compose_file_exist() -> None:
    text = (DOCKER / "compose.yaml").read_text()
    variables = set(re.findall(r"\b(EDGESPLIT_(?:NAME|DATA|HTTP|CACHE|POWER)\w*)(?=:)", text))
    values = {
        "EDGESPLIT_NAME": "edge",
        "EDGESPLIT_DATA_ADVERTISE": "edge:7400",
        "EDGESPLIT_HTTP_LISTEN": "127.0.0.1:7470",
        "EDGESPLIT_CACHE_PATH": "/var/lib/edgesplit/cache",
        "EDGESPLIT_POWER_SOURCE": "constant",
    }
    assert variables == values.keys()
    agent: AgentConfiguration = load_configuration(AgentConfiguration, None, values).values
    assert (agent.name, agent.data.advertise, agent.power.source) == ("edge", "edge:7400", "constant")
    assert (agent.http.listen, str(agent.cache.folder)) == ("127.0.0.1:7470", "/var/lib/edgesplit/cache")


def test_no_image_names_a_registry() -> None:
    for name in ("Dockerfile", "compose.yaml"):
        text = (DOCKER / name).read_text()
        images = re.findall(r"(?:^ARG PYTHON_IMAGE=|_IMAGE:-)([^}\s]+)", text, re.MULTILINE)
        assert images
        assert not [image for image in images if "/" in image]
