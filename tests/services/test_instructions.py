"""README's commands for three machines, as far as they can be checked without machines."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.services.instructions import JOIN_LINE, PLACEHOLDERS, Block, blocks, script
from tests.services.material import REPOSITORY
from tests.services.test_extras import EXTRAS

VALUES = {"EXTRAS": "agent"}


def test_the_broker_comes_before_the_fleet_and_the_fleet_before_its_nodes() -> None:
    commands = [command for block in blocks() for command in block.commands]
    order = [
        next(number for number, command in enumerate(commands) if wanted in command)
        for wanted in (
            "pip install",
            "apt-get install --yes mosquitto",
            "splitctl ca init",
            "splitctl node add",
            JOIN_LINE,
            "splitctl model add",
            "splitctl infer",
        )
    ]
    assert order == sorted(order)


def test_the_first_block_sets_every_placeholder() -> None:
    lines = script(blocks()[0], VALUES).splitlines()
    for name in PLACEHOLDERS:
        assert f"{name}={VALUES[name]}" in lines
    for block in blocks()[1:]:
        used = set(re.findall(r"\$\{?([A-Z]+)", "\n".join(block.commands)))
        assert used <= set(PLACEHOLDERS)


def test_the_printed_line_stands_once_and_is_replaced() -> None:
    (joining,) = [block for block in blocks() if any(JOIN_LINE in command for command in block.commands)]
    assert script(joining, VALUES, "edgesplit-agent join https://c:1 --token t").splitlines()[-1] == (
        "edgesplit-agent join https://c:1 --token t --service"
    )


@pytest.mark.parametrize("block", blocks(), ids=lambda block: block.title)
def test_a_block_is_a_shell_script_that_names_files_of_this_checkout(block: Block) -> None:
    subprocess.run(["bash", "-n", "-c", script(block, VALUES)], check=True)
    for path in re.findall(r"(?<![\w/])(?:systemd|demo)/\S+", "\n".join(block.commands)):
        assert (REPOSITORY / path).is_file(), path


def test_the_extras_that_readme_names_exist() -> None:
    (line,) = [command for command in blocks()[0].commands if command.startswith("EXTRAS=")]
    named = set(re.findall(r"(?:agent|controller)(?:-gpu)?", line))
    assert named == {"agent", "controller", "agent-gpu", "controller-gpu"} <= set(EXTRAS)


def test_a_block_that_does_not_say_where_it_runs_is_noticed() -> None:
    with pytest.raises(AssertionError, match="without a title"):
        blocks("## On three real machines\n```\ntrue\n```\n\n## Next\n")
