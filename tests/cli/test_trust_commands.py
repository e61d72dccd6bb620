"""Commands on trust: files on the user's machine, and what is asked of a controller."""

from __future__ import annotations

import re
import stat
import time
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgesplit.operations.trust_operations import (
    AddClientToken,
    CertificateRow,
    ClientTokenRow,
    GiveJoinToken,
    JoinOffer,
    ListCertificates,
    ListClientTokens,
    RemoveClientToken,
    RevokeCertificates,
    RevokedDocument,
)
from edgesplit.trust.credentials import Credentials
from edgesplit.trust.enrolment import JoinToken, token_digest
from edgesplit.trust.files import TrustFiles
from edgesplit.trust.subjects import Subject
from edgesplit_controller.cli.user.contexts import UserFolder
from edgesplit_controller.trust.trust_record import TrustRecord
from tests.cli.conftest import Ran, Run
from tests.cli.fakes import FakeController

DAY_S = 86_400.0


@pytest.fixture(autouse=True)
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nobody's own folder is touched."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("SUDO_UID", "SUDO_USER", "STATE_DIRECTORY", "EDGESPLIT_CONTEXT", "EDGESPLIT_IDENTITY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "config" / "edgesplit"


def init(run: Run, folder: Path, *options: object) -> Ran:
    """Make a fleet."""
    return run("ca", "init", "--json", "--name", "shop", "--operator", "ann", "--folder", folder / "trust", *options)


def test_a_fleet_is_made_with_all_that_is_needed_to_go_on(run: Run, tmp_path: Path, user: Path) -> None:
    config = tmp_path / "etc" / "controller.toml"
    made = init(run, tmp_path, "--broker", "mqtt.lan", "--advertise", "10.9.0.1:7481", "--config", config).document
    assert tomllib.loads(config.read_text()) == tomllib.loads(made["settings"])
    assert tomllib.loads(made["settings"]) == {
        "broker": {"url": "mqtts://mqtt.lan:8883"},
        "security": {"mode": "fleet", "folder": str(tmp_path / "trust")},
        "artifacts": {"advertise": "10.9.0.1:7481"},
    }
    operator = Credentials.load(TrustFiles.of(user / "identities" / "shop"))
    assert operator.subject == Subject("operator", "ann")
    assert stat.S_IMODE((user / "identities" / "shop" / "key.pem").stat().st_mode) == 0o600
    assert UserFolder.own().load().current == "shop"
    held = {entry.role: entry for entry in TrustRecord(tmp_path / "trust").state.certificates}
    assert held["broker"].addresses == ("mqtt.lan",)
    assert held["controller"].addresses == ("10.9.0.1",)
    assert "splitctl node add NAME" in made["next"][-1]


def test_a_fleet_is_made_once(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = init(run, tmp_path).document["authority"]
    assert "context shop" in init(run, tmp_path).document["error"]["message"]
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "other"))
    again = init(run, tmp_path)
    assert (again.status, again.document["error"]["code"]) == (1, "invalid-configuration")
    assert Credentials.load(TrustFiles.of(tmp_path / "trust")).subject == Subject("controller", "shop")
    assert first


def test_what_a_configuration_says_already_is_not_said_twice(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "controller.toml"
    config.write_text('[broker]\nurl = "mqtt://127.0.0.1:1883"\n')
    made = init(run, tmp_path, "--config", config).document
    assert made["configuration"] == ""
    assert config.read_text() == '[broker]\nurl = "mqtt://127.0.0.1:1883"\n'
    assert any("for [broker] and [security]" in step for step in made["next"])


def test_a_configuration_of_other_things_is_completed(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "controller.toml"
    config.write_text("# mine\n[planning]\ntime_limit_s = 5.0\n")
    assert init(run, tmp_path, "--config", config).document["configuration"] == str(config)
    text = config.read_text()
    assert text.startswith("# mine\n")
    assert set(tomllib.loads(text)) == {"planning", "broker", "security"}


def test_an_installed_mosquitto_gets_its_settings_where_it_looks(run: Run, tmp_path: Path) -> None:
    installed = tmp_path / "mosquitto"
    (installed / "conf.d").mkdir(parents=True)
    made = init(run, tmp_path, "--mosquitto", installed, "--plugin", "/opt/dynsec.so").document
    text = (installed / "conf.d" / "edgesplit.conf").read_text()
    assert str(installed / "conf.d" / "edgesplit.conf") in made["broker_files"]
    assert "plugin /opt/dynsec.so\n" in text
    for wanted in (
        "require_certificate true",
        "use_identity_as_username true",
        "allow_anonymous false",
        "tls_version tlsv1.3",
    ):
        assert f"{wanted}\n" in text
    assert "acl_file" not in text and "password_file" not in text
    (users,) = [Path(path) for path in made["broker_files"] if path.endswith(".json")]
    held = msgspec.json.decode(users.read_bytes())
    assert [client["username"] for client in held["clients"]] == ["controller:shop"]
    assert set(held["defaultACLAccess"].values()) == {False}
    key = installed / "edgesplit" / "key.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_a_folder_that_is_not_mosquitto_s_is_refused_before_anything_is_made(run: Run, tmp_path: Path) -> None:
    refused = init(run, tmp_path, "--mosquitto", tmp_path / "nowhere")
    assert "conf.d" in refused.document["error"]["message"]
    assert not (tmp_path / "trust").exists()


def test_settings_of_the_broker_are_written_again_and_its_users_are_kept(run: Run, tmp_path: Path) -> None:
    init(run, tmp_path)
    options = ("broker", "config", "--json", "--folder", tmp_path / "trust", "--out", tmp_path / "m", "--port", 18883)
    first = run(*options).document
    users = tmp_path / "m" / "dynamic-security.json"
    held = msgspec.json.decode(users.read_bytes())
    held["clients"].append({"username": "grafana", "roles": []})
    users.write_bytes(msgspec.json.encode(held))
    second = run(*options).document
    assert (first["renewed"], second["renewed"]) == (False, False)
    assert "grafana" in users.read_text()
    run(*options, "--home-assistant", "homeassistant")
    assert {"grafana", "homeassistant/#"} <= set(re.findall(r'"([^"]+)"', users.read_text()))
    run(*options)
    assert "grafana" in users.read_text()
    assert "homeassistant/#" not in users.read_text()
    assert run(*options, "--home-assistant", "home/#").document["error"]["code"] == "invalid-configuration"
    assert "listener 18883\n" in Path(second["configuration"]).read_text()
    assert first["expires_unix_s"] == pytest.approx(time.time() + 730 * DAY_S, abs=3600)


def test_the_broker_s_certificate_is_renewed_where_it_is_due(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    init(run, tmp_path, "--broker", "mqtt.lan")
    later_s = time.time() + 500 * DAY_S
    monkeypatch.setattr(time, "time", lambda: later_s)
    renewed = run("broker", "config", "--json", "--folder", tmp_path / "trust", "--out", tmp_path / "m").document
    assert renewed["renewed"]
    assert renewed["expires_unix_s"] == pytest.approx(later_s + 730 * DAY_S, abs=3600)


@pytest.mark.parametrize("text", ["a b", "host:port", "10.9.0.1:0", "http://x", "x.localhost"])
def test_an_address_that_is_none_is_wrong_use(run: Run, tmp_path: Path, text: str) -> None:
    refused = init(run, tmp_path, "--broker", text)
    assert refused.status in {1, 2}
    assert not (tmp_path / "trust").exists()


@pytest.mark.parametrize("text", ["fd00::7", "[fd00::7]", "[fd00::7]:8883"])
def test_an_ipv6_address_may_stand_in_brackets(run: Run, tmp_path: Path, text: str) -> None:
    assert 'url = "mqtts://[fd00::7]:8883"' in init(run, tmp_path, "--broker", text).document["settings"]


def test_a_configuration_that_is_none_is_refused_before_anything_is_made(run: Run, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[")
    assert "not valid TOML" in init(run, tmp_path, "--config", tmp_path / "c.toml").document["error"]["message"]
    assert not (tmp_path / "trust").exists()


@pytest.fixture
def asked(run: Run, broker: str, controller: FakeController, tmp_path: Path) -> list[Any]:
    """An operator of a fleet whose controller, here, keeps no signatures; what it was asked."""
    init(run, tmp_path)
    controller.answers |= {
        GiveJoinToken: lambda it: JoinOffer(
            kind=it.kind, name=it.name, url="https://10.9.0.1:7480", expires_unix_s=5.0
        ),
        RevokeCertificates: lambda it: RevokedDocument(role=it.role, name=it.name, serials=("ab",)),
        AddClientToken: lambda it: ClientTokenRow(
            name=it.name, models=it.models, expires_unix_s=time.time() + it.expires_in_s, rate_hz=it.rate_hz
        ),
        ListClientTokens: lambda _it: [ClientTokenRow(name="till", models=(), expires_unix_s=1e9)],
        RemoveClientToken: lambda it: ClientTokenRow(name=it.name, models=(), expires_unix_s=1e9),
        ListCertificates: lambda _it: [
            CertificateRow(role="node", name="camera", serial="ab12", issued_unix_s=1e9, expires_unix_s=2e9),
            CertificateRow(
                role="node", name="old", serial="cd34", issued_unix_s=1e9, expires_unix_s=2e9, revoked_unix_s=1.5e9
            ),
        ],
    }
    return controller.operations


def test_programs_without_a_certificate_get_a_token_that_only_they_know(run: Run, asked: list[Any]) -> None:
    given = run("token", "add", "till", "--model", "yolo", "--expires", "12h", "--rate", "2.5", "--json").document
    (operation,) = asked
    assert operation.digest == token_digest(given["token"])
    assert (operation.models, operation.expires_in_s, operation.rate_hz) == (("yolo",), 43_200.0, 2.5)
    assert given["token"] not in str(operation)


@pytest.mark.parametrize("options", [("--expires", "0d"), ("--expires", "soon"), ("--rate", "0"), ("--rate", "much")])
def test_a_token_s_limits_that_cannot_be_are_wrong_use(run: Run, asked: list[Any], options: tuple[str, ...]) -> None:
    assert run("token", "add", "till", *options).status == 2
    assert asked == []


def test_what_people_see(run: Run, asked: list[Any]) -> None:
    shown = run("certs").out
    assert "camera" in shown and "revoked" in shown and "cd34" in shown
    assert "till" in run("token", "list").out
    assert "worth nothing" in run("token", "remove", "till").out
    assert "(1 certificate)" in run("node", "revoke", "camera").out
    assert len(asked) == 4


def test_a_join_line_needs_to_know_the_fleet(run: Run, asked: list[Any]) -> None:
    refused = run("node", "add", "camera", "--json")
    assert "log in first" in refused.document["error"]["message"]
    assert asked == []


def test_contexts_are_listed_and_chosen(run: Run, tmp_path: Path) -> None:
    init(run, tmp_path)
    run("ca", "init", "--name", "yard", "--operator", "ann", "--folder", tmp_path / "yard")
    assert [(row["name"], row["current"]) for row in run("context", "list", "--json").document] == [
        ("shop", False),
        ("yard", True),
    ]
    assert run("context", "use", "shop", "--json").document["current"]
    assert UserFolder.own().load().current == "shop"
    assert "no context 'nowhere'" in run("context", "use", "nowhere", "--json").document["error"]["message"]
    assert "no context 'nowhere'" in run("--context", "nowhere", "nodes", "--json").document["error"]["message"]


@pytest.mark.parametrize("name", ["../../x", "a/b", ""])
def test_a_context_s_name_is_no_path(run: Run, name: str) -> None:
    token = JoinToken.new("ab" * 32)
    refused = run("login", "https://127.0.0.1:1", "--token", token, "--name", name, "--json")
    assert refused.status in {1, 4}
    assert not UserFolder.own().path.exists()


@pytest.mark.parametrize(("url", "token"), [("http://x", "esj_" + "A" * 64), ("https://127.0.0.1:1", "nonsense")])
def test_a_login_that_cannot_be_writes_nothing(run: Run, url: str, token: str) -> None:
    assert run("login", url, "--token", token).status == 1
    assert not UserFolder.own().path.exists()


def test_the_broker_that_is_named_goes_before_the_context(run: Run, tmp_path: Path) -> None:
    init(run, tmp_path)
    run("context", "list")
    refused = run("nodes", "--broker", "mqtt://127.0.0.1:1", "--json")
    assert "127.0.0.1:1 " in refused.document["error"]["message"]
    refused = run("nodes", "--json")
    assert "127.0.0.1:8883" in refused.document["error"]["message"]
