"""A fleet secured by splitctl's own commands: Mosquitto and controller as processes, and machines that join it."""

from __future__ import annotations

import contextlib
import getpass
import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from demo.ports import free_port
from edgesplit.trust.credentials import certificate_request, key_pem, new_key
from edgesplit.trust.enrolment import JoinRequest, JoinToken
from edgesplit.trust.enrolment_client import ControllerPlace, JoinConnection, authority_of
from edgesplit.trust.files import TrustFiles, write_private
from edgesplit.trust.subjects import Subject
from edgesplit_controller.cli.entry import main
from edgesplit_controller.trust.broker_files import find_plugin
from tests.brokers import find_mosquitto
from tests.waiting import blocking_until

__all__ = ["Secured", "running", "secured"]


@dataclass
class Secured:
    """A running fleet, and splitctl in this process, first as its first operator.

    Attributes:
        user: Whose contexts hold: a folder of this one.
        restart_controller: Ends the controller and starts it again; returns when it is ready.
    """

    folder: Path
    broker: str
    artifacts: str
    user: str = "config"
    restart_controller: Callable[[], None] = lambda: None

    def run(self, *arguments: str, status: int | None = 0) -> Any:
        """Run splitctl; its document. It has to end with that status, unless that is None."""
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as out:
            patch.setenv("XDG_CONFIG_HOME", str(self.folder / self.user))
            for name in ("EDGESPLIT_BROKER", "EDGESPLIT_CONTEXT", "EDGESPLIT_IDENTITY", "SUDO_UID"):
                patch.delenv(name, raising=False)
            # Its own event loop needs a thread without one: a browser's driver has one in that of a test.
            with ThreadPoolExecutor(1) as thread:
                ended = thread.submit(main, ["--json", *arguments]).result()
        assert status in (ended, None), out.getvalue()
        return msgspec.json.decode(out.getvalue())

    def join(self, command: str, folder: str = "") -> TrustFiles:
        """What a machine does with the line that `node add` printed, but for its service; the node's files."""
        *_, url, _, text = command.split()
        place, token, key = ControllerPlace.parse(url), JoinToken.parse(text), new_key()
        with JoinConnection(place, authority_of(place, token)) as connection:
            request = certificate_request(key, Subject("node", "some-host")).decode()
            asked = JoinRequest(token=text, kind="node", name="", request=request)
            answer = connection.join(
                asked, key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            )
        files = TrustFiles.of(self.folder / "nodes" / (folder or answer.name))
        write_private(files.key, key_pem(key))
        write_private(files.certificate, answer.certificate.encode())
        write_private(files.authority, answer.authority.encode())
        assert answer.broker == self.broker
        return files


@contextlib.contextmanager
def running(command: list[str], log: Path, ready: bytes, environment: dict[str, str] | None = None) -> Iterator[None]:
    """A program while the block runs, from when its log says that it is ready."""
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, env=environment)
    try:
        blocking_until(lambda: ready in log.read_bytes() or process.poll() is not None, f"{command[0]} is ready")
        assert process.poll() is None, log.read_text()
        yield
    finally:
        process.terminate()
        process.wait(timeout=20)


@contextlib.contextmanager
def secured(folder: Path, controller_lines: str = "") -> Iterator[Secured]:
    """Mosquitto and controller of a fleet that was founded in a folder, while the block runs.

    Args:
        folder: For everything.
        controller_lines: More of the controller's configuration.
    """
    program = find_mosquitto()
    if not find_plugin().exists():
        pytest.skip("mosquitto has no dynamic security plugin here")
    mqtt, https, dashboard = free_port(), free_port(), free_port()
    made = Secured(folder, f"mqtts://127.0.0.1:{mqtt}", f"https://127.0.0.1:{https}")
    config, trust = folder / "controller.toml", ("--folder", str(folder / "trust"))
    config.write_text(
        f'[store]\npath = "{folder / "store"}"\n[artifacts]\nlisten = "127.0.0.1:{https}"\nadvertise = "127.0.0.1:{https}"\n[dashboard]\nlisten = "127.0.0.1:{dashboard}"\n'
        f"{controller_lines}"
    )
    founding = ("--name", "shop", "--operator", "ann", "--broker", f"127.0.0.1:{mqtt}", "--config", str(config))
    assert made.run("ca", "init", *founding, *trust)["configuration"] == str(config)
    written = made.run("broker", "config", "--out", str(folder / "mosquitto"), "--port", str(mqtt), *trust)
    settings = Path(written["configuration"])
    settings.write_text(f"user {getpass.getuser()}\n{settings.read_text()}")
    controller = [sys.executable, "-m", "edgesplit_controller.main", "--config", str(config)]
    with (
        running([program, "-c", str(settings)], folder / "mosquitto.log", b" running"),
        contextlib.ExitStack() as once,
    ):

        def start() -> None:
            once.close()
            once.enter_context(running(controller, folder / "controller.log", b"ready"))

        start()
        made.restart_controller = start
        yield made
