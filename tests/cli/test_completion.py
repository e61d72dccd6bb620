"""Shell completion: scripts that shells take, commands without importing them, names from a controller that answers."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import Any

import pytest
from click.testing import CliRunner

from edgesplit.errors import InvalidInput
from edgesplit.operations.fleet_operations import ListNodes
from edgesplit.operations.model_operations import ListModels
from edgesplit_controller.cli.entry import splitctl
from edgesplit_controller.cli.shell import completion
from tests.cli.conftest import Run
from tests.cli.fakes import FakeController
from tests.cli.test_asking import MODEL, NODES


def completed(*words: str, **environment: str) -> list[str]:
    """What bash offers behind these words, the last of which is being typed."""
    variables = {
        "_SPLITCTL_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(("splitctl", *words)),
        "COMP_CWORD": str(len(words)),
        **environment,
    }
    done = CliRunner().invoke(splitctl, env=variables, prog_name="splitctl")
    assert done.exit_code == 0, done.output
    return [line.partition(",")[2] for line in done.output.splitlines() if line]


@pytest.fixture
def answering(controller: FakeController, monkeypatch: pytest.MonkeyPatch) -> FakeController:
    monkeypatch.setattr(completion, "ANSWER_S", 60.0)  # time decides nothing
    controller.answers |= {ListNodes: lambda _: list(NODES), ListModels: lambda _: [MODEL]}
    return controller


def test_commands_and_options_are_completed() -> None:
    assert completed("un") == ["undeploy", "unpin", "undrain"]
    assert completed("model", "l") == ["list"]
    assert completed("nodes", "--out") == ["--output"]
    assert completed("nodes", "--output", "w") == ["wide"]


def test_names_are_asked_of_the_controller(answering: FakeController) -> None:
    broker = answering.broker
    nodes = [node.name for node in NODES]
    assert completed("--broker", broker, "drain", "") == nodes
    assert completed("drain", nodes[0][:2], EDGESPLIT_BROKER=broker) == [
        name for name in nodes if name.startswith(nodes[0][:2])
    ]
    assert completed("plan", "--broker", broker, "") == [MODEL.name]
    assert completed("deploy", MODEL.name, "--source", "", EDGESPLIT_BROKER=broker) == nodes
    assert completed("plan", "zz", EDGESPLIT_BROKER=broker) == []


def test_who_does_not_answer_has_no_names_and_says_nothing(answering: FakeController) -> None:
    assert completed("drain", "", EDGESPLIT_BROKER="mqtt://127.0.0.1:1") == []
    assert completed("drain", "", EDGESPLIT_BROKER="no broker's URL") == []

    def refuses(_asked: Any) -> None:
        raise InvalidInput("no")

    answering.answers[ListNodes] = refuses
    assert completed("drain", "", EDGESPLIT_BROKER=answering.broker) == []


def test_commands_are_completed_without_importing_them() -> None:
    code = (
        "import sys; from edgesplit_controller.cli.entry import splitctl; import click\n"
        "found = splitctl.shell_complete(click.Context(splitctl, info_name='splitctl'), 'no')\n"
        "assert [item.value for item in found] == ['nodes', 'node'], found\n"
        "assert all(item.help for item in found)\n"
        "sys.exit(any('cli.commands' in name for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_are_printed_for_shells(run: Run, shell: str) -> None:
    told = run("completion", shell)
    assert told.status == 0
    assert "_SPLITCTL_COMPLETE" in told.out
    assert run("completion", shell, "--json").document == {"shell": shell, "script": told.out.removesuffix("\n")}
    if shutil.which(shell) is not None:  # whoever has the shell has it read the script
        checked = subprocess.run([shell, "-n"], input=told.out, text=True, capture_output=True, check=False)
        assert (checked.returncode, checked.stderr) == (0, "")
    assert run("completion", "csh").status == 2
