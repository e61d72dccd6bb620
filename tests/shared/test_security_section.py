"""`[security]`: nothing listens to strangers unless it was told to, and a secured fleet fills in what follows from it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgesplit.daemon.configuration_file import load_configuration, render_configuration
from edgesplit.daemon.security_section import SecuritySection
from edgesplit.errors import InvalidConfiguration
from edgesplit.trust.subjects import BROKER_HOST
from edgesplit_agent.configuration import AgentConfiguration
from edgesplit_agent.main import main
from edgesplit_controller.configuration import ControllerConfiguration

AGENT = 'name = "device"\n'
FLEET = '[security]\nmode = "fleet"\nfolder = "/trust"\n[broker]\nurl = "mqtts://edge:8883"\n'


def agent(text: str, folder: Path) -> AgentConfiguration:
    """Of a file with this text beside the name."""
    path = folder / "agent.toml"
    path.write_text(AGENT + text)
    values: AgentConfiguration = load_configuration(AgentConfiguration, path, {}).values
    return values


def controller(text: str, folder: Path) -> ControllerConfiguration:
    """Of a file with this text."""
    path = folder / "controller.toml"
    path.write_text(text)
    values: ControllerConfiguration = load_configuration(ControllerConfiguration, path, {}).values
    return values


def test_without_security_daemons_listen_to_their_own_machine_alone(tmp_path: Path) -> None:
    of_agent, of_controller = agent("", tmp_path), controller("", tmp_path)
    assert (of_agent.data.listen, of_controller.artifacts.listen) == ("127.0.0.1:7400", "127.0.0.1:7480")
    of_agent.check_security()
    of_controller.check_security()


def test_a_secured_fleet_listens_on_every_interface_and_knows_its_files(tmp_path: Path) -> None:
    of_agent, of_controller = agent(FLEET, tmp_path), controller(FLEET, tmp_path)
    assert (of_agent.data.listen, of_controller.artifacts.listen) == ("0.0.0.0:7400", "0.0.0.0:7480")
    for broker in (of_agent.broker, of_controller.broker):
        files = (broker.ca_file, broker.cert_file, broker.key_file, broker.server_name)
        assert files == ("/trust/authority.pem", "/trust/certificate.pem", "/trust/key.pem", BROKER_HOST)


def test_what_is_given_for_the_broker_is_kept(tmp_path: Path) -> None:
    text = FLEET + 'ca_file = "/ca"\ncert_file = "/mine"\nserver_name = "edge"\n'
    broker = agent(text, tmp_path).broker
    assert (broker.ca_file, broker.cert_file, broker.key_file, broker.server_name) == ("/ca", "/mine", "", "edge")


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "10.9.0.1", "edge", "[2001:db8::1]"])
@pytest.mark.parametrize("section", ["data", "http"])
def test_an_agent_open_to_strangers_is_refused_with_both_ways_out(host: str, section: str, tmp_path: Path) -> None:
    text = f'[{section}]\nlisten = "{host}:7400"\n'
    with pytest.raises(InvalidConfiguration) as caught:
        agent(text, tmp_path).check_security()
    for said in (f"[{section}] listen {host}:7400", "edgesplit-agent join", "insecure_network = true"):
        assert said in str(caught.value)
    agent(f"{text}[security]\ninsecure_network = true\n", tmp_path).check_security()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "[::1]"])
def test_loopback_is_nobodys_business(host: str, tmp_path: Path) -> None:
    agent(f'[data]\nlisten = "{host}:7400"\n', tmp_path).check_security()


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[artifacts]\nlisten = "0.0.0.0:7480"\n', "[artifacts] listen 0.0.0.0:7480"),
        ('[broker]\nembedded = true\nurl = "mqtt://10.9.0.1"\n', "[broker] url (embedded) 10.9.0.1:1883"),
    ],
)
def test_a_controller_open_to_strangers_is_refused_with_both_ways_out(text: str, key: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        controller(text, tmp_path).check_security()
    for said in (key, 'mode = "fleet"', "insecure_network = true"):
        assert said in str(caught.value)
    controller(f"{text}[security]\ninsecure_network = true\n", tmp_path).check_security()


def test_a_secured_fleet_takes_no_decisions_in_the_clear(tmp_path: Path) -> None:
    text = '[security]\nmode = "fleet"\n[broker]\nurl = "mqtt://{}"\n'
    with pytest.raises(InvalidConfiguration, match="write mqtts://"):
        controller(text.format("edge"), tmp_path).check_security()
    controller(text.format("127.0.0.1"), tmp_path).check_security()


def test_a_node_of_a_secured_fleet_without_an_identity_is_told_to_join(tmp_path: Path) -> None:
    text = f'[security]\nmode = "fleet"\nfolder = "{tmp_path}"\n'
    with pytest.raises(InvalidConfiguration, match=r"does not hold this node.*edgesplit-agent join"):
        agent(text, tmp_path).check_security()
    for name in ("authority", "certificate", "key"):
        (tmp_path / f"{name}.pem").touch()
    agent(text, tmp_path).check_security()


def test_insecurity_is_said_at_every_start_and_nothing_else_is() -> None:
    section = SecuritySection(insecure_network=True)
    assert section.insecure
    assert "whoever reaches [data] listen 0.0.0.0:7400 may use it" in section.warning({"[data] listen": "0.0.0.0:7400"})
    assert "the broker" in section.warning({"[data] listen": "127.0.0.1:7400"})
    assert SecuritySection().warning({"[data] listen": "127.0.0.1:7400"}) == ""
    assert SecuritySection(mode="fleet", insecure_network=True).warning({"[data] listen": "0.0.0.0:7400"}) == ""


def test_the_folder_is_that_of_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    assert SecuritySection().trust_folder == Path("/var/lib/edgesplit/trust")
    monkeypatch.setitem(os.environ, "STATE_DIRECTORY", "/var/lib/edgesplit-agent:/other")
    assert SecuritySection().trust_folder == Path("/var/lib/edgesplit-agent/trust")


def test_the_refusal_is_one_sentence_of_the_command_and_configuration_is_still_shown(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(f'{AGENT}[data]\nlisten = "0.0.0.0:7400"\n')
    refused = CliRunner().invoke(main, ["--config", str(path)])
    assert refused.exit_code == 1
    assert refused.output.startswith("edgesplit-agent: [data] listen 0.0.0.0:7400 can be reached from other machines")
    assert refused.output.count("\n") == 1
    shown = CliRunner().invoke(main, ["--config", str(path), "--print-config"])
    assert shown.exit_code == 0
    assert f'data.listen = "0.0.0.0:7400"  # file {path}' in shown.output


def test_effective_defaults_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(AGENT)
    shown = render_configuration(load_configuration(AgentConfiguration, path, {}))
    assert 'data.listen = "127.0.0.1:7400"  # default' in shown
    assert 'security.mode = "none"  # default' in shown
