"""`edgesplit-agent join` and `leave`, against a controller's enrolment over real TLS."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives import hashes

from edgesplit.daemon.configuration_file import load_configuration
from edgesplit.trust.credentials import Credentials
from edgesplit.trust.files import TrustFiles
from edgesplit.trust.subjects import BROKER_HOST, Subject
from edgesplit_agent.configuration import AgentConfiguration
from edgesplit_agent.main import main
from tests.joining.fake_controller import BROKER, FakeController
from tests.trust.authorities import DAY, MadeAuthority

EXISTING = """\
# The camera at the gate.
name = "old-name"  # from before

[broker]
url = "mqtt://old:1883"
ca_file = "/etc/old.pem"

[power]
# Measured by hand.
compute_w = 2.5

[security]
insecure_network = true
"""


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[FakeController]:
    with FakeController(tmp_path / "controller", MadeAuthority()) as running:
        yield running


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The agent's configuration, which is not there yet."""
    return tmp_path / "node" / "agent.toml"


def run(*words: str, status: int = 0) -> str:
    """Standard output of a command; progress is on standard error."""
    done = CliRunner().invoke(main, list(words))
    assert done.exit_code == status, done.output
    return done.stdout


def join(controller: FakeController, file: Path, token: str, *more: str, status: int = 0) -> Any:
    """The document of the join command."""
    return json.loads(
        run("join", controller.url, "--token", token, "--config", str(file), "--json", *more, status=status)
    )


def leave(file: Path, *more: str) -> Any:
    return json.loads(run("leave", "--config", str(file), "--json", *more))


def identity(file: Path) -> TrustFiles:
    return TrustFiles.of(file.parent / "trust")


def configuration(file: Path) -> AgentConfiguration:
    values: AgentConfiguration = load_configuration(AgentConfiguration, file, {}).values
    return values


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_one_command_makes_a_node_of_a_machine(controller: FakeController, file: Path) -> None:
    document = join(controller, file, controller.token("camera"))
    found = configuration(file)
    assert (found.name, found.broker.url, found.broker.server_name) == ("camera", BROKER, BROKER_HOST)
    assert (found.data.listen, found.http.listen, found.security.mode) == ("0.0.0.0:7400", "0.0.0.0:7470", "fleet")
    found.check_security()
    files = identity(file)
    credentials = Credentials.load(files)
    assert credentials.subject == Subject("node", "camera")
    assert credentials.key.public_key() == credentials.certificate.public_key()
    assert files.key.stat().st_mode & 0o777 == 0o600
    assert files.key.parent.stat().st_mode & 0o777 == 0o700
    assert file.stat().st_mode & 0o777 == 0o644
    digest = controller.authority.certificate.fingerprint(hashes.SHA256()).hex()
    assert (document["name"], document["changed"], document["authority"]) == ("camera", True, digest)
    assert document["expires_unix_s"] == pytest.approx((datetime.now(UTC) + 30 * DAY).timestamp(), abs=600)
    assert document["addresses"]
    assert controller.heard[0]["addresses"] == document["addresses"]
    assert "PRIVATE" not in json.dumps(controller.heard)


def test_joining_again_changes_nothing_and_asks_nobody(controller: FakeController, file: Path) -> None:
    token = controller.token("camera")
    join(controller, file, token)
    before = contents(file.parent)
    document = join(controller, file, token, "--name", "camera")
    assert (document["name"], document["changed"]) == ("camera", False)
    assert contents(file.parent) == before
    assert len(controller.heard) == 1


def test_an_existing_configuration_keeps_its_other_keys_and_comments(controller: FakeController, file: Path) -> None:
    file.parent.mkdir()
    file.write_text(EXISTING)
    join(controller, file, controller.token("camera"))
    found, text = configuration(file), file.read_text()
    assert (found.name, found.power.compute_w, found.security.insecure_network) == ("camera", 2.5, False)
    assert found.broker.ca_file == str(identity(file).authority)
    assert "# The camera at the gate." in text
    assert "# Measured by hand." in text
    leave(file)
    assert file.read_text() == EXISTING
    assert list(file.parent.iterdir()) == [file]


def test_leaving_undoes_all_of_it_and_is_harmless_twice(controller: FakeController, file: Path, tmp_path: Path) -> None:
    join(controller, file, controller.token("camera"))
    document = leave(file)
    assert document["name"] == "camera"
    assert len(document["done"]) == 2
    assert not list(file.parent.rglob("*"))
    assert leave(file) == {"name": "", "done": []}
    assert "in no fleet" in run("leave", "--config", str(file))


@pytest.mark.parametrize("purge", [True, False])
def test_the_cache_goes_where_that_is_asked_for(
    controller: FakeController, file: Path, tmp_path: Path, *, purge: bool
) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "blob").touch()
    file.parent.mkdir()
    file.write_text(f'name = "a"\n[cache]\npath = "{cache}"\n')
    join(controller, file, controller.token("camera"))
    leave(file, *(["--purge"] if purge else []))
    assert cache.exists() is not purge


def test_a_cache_that_holds_more_than_a_cache_is_left_alone(
    controller: FakeController, file: Path, tmp_path: Path
) -> None:
    file.parent.mkdir()
    file.write_text(f'name = "a"\n[cache]\npath = "{tmp_path}"\n')
    join(controller, file, controller.token("camera"))
    assert f"left {tmp_path} alone, which is no cache of its own" in leave(file, "--purge")["done"]
    assert file.exists()


def test_nobody_is_told_the_token_who_is_not_whom_it_names(controller: FakeController, file: Path) -> None:
    other = MadeAuthority("another fleet")
    refused = join(controller, file, controller.token("camera", other), status=1)["error"]
    assert refused["code"] == "not-trusted"
    assert "nothing was sent" in refused["message"]
    # Nor is one who shows the right authority and is not of it.
    controller.shown = other.pem
    refused = join(controller, file, controller.token("camera", other), status=1)["error"]
    assert refused["code"] == "not-trusted"
    assert not controller.heard
    assert not identity(file).complete
    assert not file.exists()


def test_a_controller_of_another_name_is_not_the_controller(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.joining.fake_controller.CONTROLLER_NAME", "node.example")
    with FakeController(tmp_path / "node-of-the-fleet", MadeAuthority()) as node:
        refused = join(node, file, node.token("camera"), status=1)["error"]
        assert refused["code"] == "not-trusted"
        assert not node.heard


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [(401, "not-trusted", 1), (409, "name-taken", 1), (429, "overloaded", 1), (400, "invalid-input", 2)],
)
def test_what_the_controller_refuses_is_said_in_its_words(
    controller: FakeController, file: Path, status: int, code: str, exit_code: int
) -> None:
    controller.refusal = (status, code, "because of that")
    refused = join(controller, file, controller.token("camera"), status=exit_code)["error"]
    assert refused == {"code": code, "message": "because of that"}
    assert not identity(file).complete


def test_a_token_works_once(controller: FakeController, file: Path, tmp_path: Path) -> None:
    token = controller.token("camera")
    join(controller, file, token)
    refused = join(controller, tmp_path / "other" / "agent.toml", token, status=1)["error"]
    assert "used already" in refused["message"]


def test_another_name_than_the_tokens_is_refused(controller: FakeController, file: Path) -> None:
    assert (
        join(controller, file, controller.token("camera"), "--name", "gate", status=1)["error"]["code"] == "name-taken"
    )


def test_a_machine_of_another_fleet_or_name_is_told_to_leave_first(controller: FakeController, file: Path) -> None:
    join(controller, file, controller.token("camera"))
    before = contents(file.parent)
    for token, more in (
        (controller.token("camera", MadeAuthority()), ()),
        (controller.token("gate"), ("--name", "gate")),
    ):
        refused = join(controller, file, token, *more, status=1)["error"]
        assert "leave first" in refused["message"]
    assert contents(file.parent) == before


def test_an_identity_that_has_ended_is_made_anew(controller: FakeController, file: Path) -> None:
    controller.life = (-3 * DAY, timedelta(seconds=1))
    join(controller, file, controller.token("camera"))
    files = identity(file)
    old = files.certificate.read_bytes()
    controller.authority.files(files.key.parent, uri="edgesplit://node/camera", begins=-3 * DAY, ends=-DAY)
    controller.life = (-DAY, 30 * DAY)
    assert join(controller, file, controller.token("camera"))["changed"]
    assert files.certificate.read_bytes() != old


@pytest.mark.parametrize(
    ("subject", "said"),
    [("edgesplit://node/other", "certificate of node other"), ("edgesplit://operator/camera", "operator camera")],
)
def test_a_certificate_for_somebody_else_is_refused(
    controller: FakeController, file: Path, subject: str, said: str
) -> None:
    controller.subject = subject
    refused = join(controller, file, controller.token("camera"), status=1)["error"]
    assert said in refused["message"]
    assert not identity(file).complete


@pytest.mark.parametrize("off", [timedelta(hours=1), timedelta(hours=-1)])
def test_a_clock_that_is_an_hour_off_is_said_before_the_token_is_used(
    controller: FakeController, file: Path, off: timedelta
) -> None:
    controller.date = format_datetime(datetime.now(UTC) + off, usegmt=True)
    refused = join(controller, file, controller.token("camera"), status=1)["error"]
    assert "clock" in refused["message"]
    assert not controller.heard


@pytest.mark.parametrize(("begins", "ends"), [(DAY, 30 * DAY), (-30 * DAY, -DAY)])
def test_a_clock_that_is_days_off_is_said_too(file: Path, tmp_path: Path, begins: timedelta, ends: timedelta) -> None:
    with FakeController(tmp_path / "off", MadeAuthority(), begins=begins, ends=ends) as controller:
        refused = join(controller, file, controller.token("camera"), status=1)["error"]
        assert "clock" in refused["message"]
        assert not controller.heard


def test_a_controller_that_is_away_is_said_with_exit_status_four(controller: FakeController, file: Path) -> None:
    token = controller.token("camera")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        words = (
            "join",
            f"https://127.0.0.1:{taken.getsockname()[1]}",
            "--token",
            token,
            "--config",
            str(file),
            "--json",
        )
        assert json.loads(run(*words, status=4))["error"]["code"] == "controller-unreachable"


def test_what_does_not_speak_tls_is_said(controller: FakeController, file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as plain:
        plain.settimeout(10)
        port = plain.getsockname()[1]

        def answer() -> None:
            connection, _ = plain.accept()
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            connection.recv(4096)
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        words = (
            "join",
            f"https://127.0.0.1:{port}",
            "--token",
            controller.token("camera"),
            "--config",
            str(file),
            "--json",
        )
        assert "does not speak TLS" in json.loads(run(*words, status=1))["error"]["message"]
        thread.join()


@pytest.mark.parametrize(
    "url", ["http://edge:7480", "edge:7480", "https://", "https://edge:0", "https://u:p@edge", "https://e:x"]
)
def test_a_wrong_address_or_token_is_wrong_use(url: str, controller: FakeController, file: Path) -> None:
    token = controller.token("camera")
    wrong = run("join", url, "--token", token, "--config", str(file), "--json", status=2)
    assert json.loads(wrong)["error"]["code"] == "invalid-input"
    wrong = run("join", controller.url, "--token", token[:-1], "--config", str(file), "--json", status=2)
    assert token[:-1] not in wrong


def test_what_cannot_be_written_is_said_before_the_token_is_used(controller: FakeController, tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("a file where a folder should be")
    refused = join(controller, tmp_path / "blocked" / "agent.toml", controller.token("camera"), status=1)["error"]
    assert "joining needs root" in refused["message"]
    assert not controller.heard


def test_variables_that_would_override_the_fleets_broker_are_said(controller: FakeController, file: Path) -> None:
    file.parent.mkdir()
    (file.parent / "agent.env").write_text("EDGESPLIT_BROKER_URL=mqtt://old:1883\n")
    refused = join(controller, file, controller.token("camera"), status=1)["error"]
    assert "agent.env sets EDGESPLIT_BROKER_" in refused["message"]
    assert not controller.heard


def test_people_read_sentences(controller: FakeController, file: Path) -> None:
    said = run("join", controller.url, "--token", controller.token("camera"), "--config", str(file))
    assert said == f"node camera joined; run it: edgesplit-agent --config {file}\n"
    again = CliRunner().invoke(main, ["join", controller.url, "--token", controller.token("x"), "--config", str(file)])
    assert "node camera had joined already" in again.stdout
    wrong = CliRunner().invoke(main, ["join", controller.url, "--token", "esj_x", "--config", str(file)])
    assert wrong.stderr.startswith("edgesplit-agent: this is no join token")
    assert wrong.stderr.count("\n") == 1
