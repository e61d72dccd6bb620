"""Configurations that the previous release shipped as examples are understood, and refused only where they let strangers in."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgesplit.daemon.configuration_file import load_configuration
from edgesplit.errors import InvalidConfiguration
from edgesplit_agent.configuration import AgentConfiguration
from edgesplit_controller.configuration import ControllerConfiguration

HERE = Path(__file__).parent
EXAMPLES = [
    (AgentConfiguration, "agent-0.1.0.toml", r"\[data\] listen"),
    (ControllerConfiguration, "controller-0.1.0.toml", r"\[artifacts\] listen"),
]
kinds = pytest.mark.parametrize(("kind", "name", "key"), EXAMPLES, ids=["agent", "controller"])


@kinds
def test_what_listened_to_everybody_is_refused_until_that_is_asked_for(
    kind: type[AgentConfiguration] | type[ControllerConfiguration], name: str, key: str, tmp_path: Path
) -> None:
    loaded = load_configuration(kind, HERE / name, {}).values
    with pytest.raises(InvalidConfiguration, match=rf"{key} 0\.0\.0\.0:\d+ can be reached.*insecure_network = true"):
        loaded.check_security()
    asked_for = tmp_path / name
    asked_for.write_text((HERE / name).read_text() + "\n[security]\ninsecure_network = true\n")
    load_configuration(kind, asked_for, {}).values.check_security()


@kinds
def test_on_loopback_the_same_file_does_as_it_did(
    kind: type[AgentConfiguration] | type[ControllerConfiguration], name: str, key: str, tmp_path: Path
) -> None:
    assert key
    own = tmp_path / name
    own.write_text((HERE / name).read_text().replace("0.0.0.0:", "127.0.0.1:"))
    load_configuration(kind, own, {}).values.check_security()
