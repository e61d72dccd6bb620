"""The agent's configuration and its command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgesplit.daemon.configuration_file import load_configuration
from edgesplit.errors import InvalidConfiguration
from edgesplit.wire.address import TcpAddress, parse_tcp
from edgesplit_agent.configuration import AgentConfiguration
from edgesplit_agent.main import main

MINIMUM = """
name = "device"
[broker]
url = "mqtt://127.0.0.1:1883"
[data]
listen = "0.0.0.0:7400"
advertise = "10.9.0.1:7400"
[power]
source = "auto"
compute_w = 2.9165
transmit_w = 3.507
[runtime]
threads = 1
memory_limit_bytes = 4294967296
"""


def load(text: str, folder: Path, environment: dict[str, str] | None = None) -> AgentConfiguration:
    """Of a file with this text."""
    path = folder / "agent.toml"
    path.write_text(text)
    values = load_configuration(AgentConfiguration, path, environment or {}).values
    assert isinstance(values, AgentConfiguration)
    return values


def test_the_minimum_keys_are_enough_and_the_rest_has_defaults(tmp_path: Path) -> None:
    configuration = load(MINIMUM, tmp_path)
    assert configuration.power.transmit_w == 3.507
    assert configuration.http.listen == "127.0.0.1:7470"
    assert not configuration.emulation.active


def test_environment_variables_override_the_file(tmp_path: Path) -> None:
    environment = {"EDGESPLIT_RUNTIME_THREADS": "4", "EDGESPLIT_NAME": "edge", "EDGESPLIT_HTTP_LISTEN": ""}
    configuration = load(MINIMUM, tmp_path, environment)
    assert (configuration.name, configuration.runtime.threads, configuration.http.listen) == ("edge", 4, "")


def test_emulated_links_are_read(tmp_path: Path) -> None:
    text = MINIMUM + "[emulation]\nslow_down = 3\nlinks = { edge = { bandwidth_bytes_per_s = 1e6, latency_s = 0.01 } }"
    emulation = load(text, tmp_path).emulation
    assert emulation.active
    assert emulation.links["edge"].bandwidth_bytes_per_s == 1e6


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("[cache]\nlimit_bytes = 0", "cache.limit_bytes"),
        ("[http]\nlisten = 'nowhere'", "host:port"),
        ("[http]\nport = 3", "port"),
        ("[emulation]\nslow_down = 0.5", "slow_down"),
        ("[emulation]\nslow_down = inf", "finite"),
    ],
)
def test_a_wrong_key_is_named_with_the_file(change: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidConfiguration, match=said) as caught:
        load(MINIMUM + change, tmp_path)
    assert "agent.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"device"', '"a/b"', "cannot name a node"),
        ("mqtt://", "http://", "mqtt://host:1883"),
        ("[data]\n", "[data]\nsocket = 'agent.sock'\n", "absolute path"),
        ('name = "device"', "", "name"),
    ],
)
def test_a_wrong_value_is_one_sentence(old: str, new: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidConfiguration, match=said):
        load(MINIMUM.replace(old, new), tmp_path)


def test_addresses_are_taken_apart_and_put_together() -> None:
    assert parse_tcp("[::1]:80") == TcpAddress("::1", 80)
    assert [str(TcpAddress(host, 80)) for host in ("::1", "edge")] == ["[::1]:80", "edge:80"]
    assert [parse_tcp(wrong) for wrong in ("host", "host:", ":80", "host:99999", "host:x", "host:²")] == [None] * 6


@pytest.mark.parametrize("section", ["data", "http"])
@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("0.0.0.0:7400", "every interface and is no address"),
        ("[::]:7400", "every interface and is no address"),
        ("edge:0", "others need the port"),
        ("edge", "host:port"),
    ],
)
def test_an_address_that_nobody_can_reach_is_refused(section: str, address: str, said: str, tmp_path: Path) -> None:
    environment = {f"EDGESPLIT_{section.upper()}_ADVERTISE": address}
    with pytest.raises(InvalidConfiguration, match=said):
        load(MINIMUM, tmp_path, environment)


def test_print_config_shows_where_each_value_comes_from(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(MINIMUM)
    result = CliRunner().invoke(main, ["--config", str(path), "--print-config"])
    assert result.exit_code == 0
    assert f'name = "device"  # file {path}' in result.output
    assert 'http.listen = "127.0.0.1:7470"  # default' in result.output


def test_a_broken_file_is_one_sentence_and_exit_code_one(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text("name = ")
    result = CliRunner().invoke(main, ["--config", str(path)])
    assert result.exit_code == 1
    assert result.output.count("\n") == 1
    assert "not valid TOML" in result.output


def test_an_agent_without_a_runtime_says_so_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text('name = "device"\n')
    program = (
        "import sys; sys.modules['onnxruntime'] = None; sys.argv[0] = 'edgesplit-agent'\n"
        "from edgesplit_agent.main import main; main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, "--config", str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.startswith("edgesplit-agent: onnxruntime is not installed here")
    assert len(ended.stderr.splitlines()) == 1


def test_labels_come_from_the_file_or_the_environment(tmp_path: Path) -> None:
    text = MINIMUM + '[node]\nlabels = { site = "home", role = "edge" }\n'
    assert load(text, tmp_path).node.labels == {"site": "home", "role": "edge"}
    environment = {"EDGESPLIT_NODE_LABELS": '{ site = "work" }'}
    assert load(text, tmp_path, environment).node.labels == {"site": "work"}
    assert load(MINIMUM, tmp_path).node.labels == {}


@pytest.mark.parametrize("labels", ['{ site = "" }', '{ "a b" = "c" }', "{ site = 3 }", '"site=home"'])
def test_labels_that_cannot_be_are_refused_by_their_key(tmp_path: Path, labels: str) -> None:
    with pytest.raises(InvalidConfiguration, match=r"node"):
        load(MINIMUM + f"[node]\nlabels = {labels}\n", tmp_path)
