"""What every command has in common: help, wrong use, exit statuses, quickness."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from edgesplit.errors import InvalidModel, PlanInfeasible
from edgesplit_controller.cli import common
from edgesplit_controller.cli.entry import splitctl
from edgesplit_controller.cli.failures import describe
from edgesplit_controller.cli.lazy import LazyGroup
from tests.cli.conftest import Run


def every_command(
    group: click.Group = splitctl, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from every_command(command, (*path, name))


COMMANDS = list(every_command())


def test_every_command_that_the_reference_page_promises_is_there() -> None:
    page = (Path(__file__).parents[2] / "docs/splitctl.md").read_text(encoding="utf-8")
    headings = [line for line in page.splitlines() if line.startswith("## splitctl ")]
    promised = {command for line in headings for command in re.findall(r"splitctl ((?:[a-z-]+ ?)+)", line)}
    assert len(promised) > 10
    assert {command.strip() for command in promised} <= {" ".join(path) for path, _ in COMMANDS}


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=[" ".join(path) for path, _ in COMMANDS])
def test_help_has_an_example_and_names_the_json_keys(run: Run, path: tuple[str, ...], command: click.Command) -> None:
    page = run(*path, "--help")
    assert page.status == 0
    assert "Example:" in page.out
    assert "$ splitctl " + path[0] in page.out
    assert "With --json:" in page.out
    assert "--json" in {option for parameter in command.params for option in parameter.opts}


def test_summaries_are_those_of_the_commands() -> None:
    assert isinstance(splitctl, LazyGroup)
    for path, command in COMMANDS:
        if len(path) == 1:
            summary = splitctl.commands_by_name[path[0]].summary
            assert 10 < len(summary) < 60, path
            assert command.name == path[0]


def test_the_reference_page_names_every_command_and_option() -> None:
    page = (Path(__file__).parents[2] / "docs/splitctl.md").read_text(encoding="utf-8")
    for path, command in COMMANDS:
        assert isinstance(command, click.Group) or f"splitctl {' '.join(path)}" in page, path
        for option in (option for parameter in command.params for option in parameter.opts if option.startswith("--")):
            assert f"`{option}" in page, (path, option)


def imports(arguments: list[str], slow: set[str]) -> str:
    """Which of these modules a command imports, in a process of its own; empty where none, and it succeeded."""
    code = (
        f"import sys; from edgesplit_controller.cli.entry import main; status = main({arguments!r})\n"
        f"slow = {slow!r} & set(sys.modules)\n"
        "sys.exit(f'imported {slow}' if slow else status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr or f"status {done.returncode}"


def test_help_imports_nothing_slow() -> None:
    assert not imports(["--help"], {"msgspec", "paho", "rich", "numpy", "onnx", "ortools", "aiohttp", "asyncio"})


def test_commands_that_only_ask_the_controller_do_without_numpy() -> None:
    assert not imports(["nodes", "--help"], {"rich", "numpy", "onnx", "onnxruntime", "ortools", "aiohttp"})


def test_version_is_told(run: Run) -> None:
    told = run("--version")
    assert (told.status, told.out.split()[0]) == (0, "splitctl")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("no-such-command",),
        ("nodes", "--no-such-option"),
        ("nodes", "surplus"),
        ("deploy", "m"),
        ("deploy", "m", "--source", "device", "--wait", "0"),
        ("deploy", "m", "--source", "device", "--wait", "soon"),
        ("set-weights",),
        ("set-weights", "--latency", "0"),
        ("set-weights", "--latency", "0", "--energy", "0"),
        ("set-weights", "--latency", "-1"),
        ("set-weights", "--energy", "nan"),
        ("set-weights", "--energy", "inf"),
        ("set-weights", "--energy", "much"),
        ("set-weights", "--energy", "none"),
        ("set-weights", "--max-noise", "-0.1"),
        ("set-weights", "--max-noise", "nothing"),
        ("set-weights", "--device-energy", "nan"),
        ("pin", "m"),
        ("pin", "m", "--node", "edge"),
        ("pin", "m", "--first", "0"),
        ("pin", "m", "--first", "2", "--input"),
        ("unpin", "m"),
        ("unpin", "m", "conv*", "--all"),
        ("what-if", "m"),
        ("what-if", "m", "--link", "device:edge"),
        ("what-if", "m", "--link", "device=2MB/s"),
        ("what-if", "m", "--link", "device:edge=2"),
        ("what-if", "m", "--link", "device:edge=0MB/s"),
        ("what-if", "m", "--link", "device:edge=2MB/s,3MB/s"),
        ("what-if", "m", "--link", "device:edge=2MB/s,soon"),
        ("what-if", "m", "--latency", "0"),
        ("explain", "m", "--time-limit", "0"),
        ("frontier", "m", "--points", "1"),
        ("frontier", "m", "--png", "/no/such/folder/frontier.png"),
        ("model", "add", "m", "/no/such/file.onnx"),
        ("model", "add", "a/b", __file__),
        ("infer", "m", "--input", "/no/such/file.npz"),
        ("infer", "m", "--input", __file__, "--count", "0"),
        ("infer", "m", "--input", __file__, "--concurrency", "0"),
        ("solve", "/no/such/file.json"),
        ("solve", __file__, "--time-limit", "-1"),
        ("plan", "m", "--export", "plan.txt"),
        ("nodes", "--broker", "http://somewhere"),
        ("nodes", "--broker", "mqtt://host:port"),
    ],
    ids=" ".join,
)
def test_wrong_use_is_status_2_and_one_sentence(run: Run, arguments: tuple[str, ...]) -> None:
    told = run(*arguments)
    assert (told.status, told.out) == (2, "")
    assert told.err.startswith("splitctl: ")
    assert told.err.count("\n") == 1
    programs = run(*arguments, "--json")
    assert programs.status == 2
    assert programs.document["error"]["code"] == "wrong-use"
    assert programs.document["error"]["message"]
    assert programs.err == ""


def test_a_broker_that_is_away_is_status_4_and_named(run: Run) -> None:
    told = run("--broker", "mqtt://127.0.0.1:1", "nodes")
    assert (told.status, told.out) == (4, "")
    assert told.err == (
        "splitctl: no MQTT broker answers at 127.0.0.1:1 (connection refused): "
        "start it, or name another with --broker or EDGESPLIT_BROKER\n"
    )
    programs = run("nodes", "--broker", "mqtt://127.0.0.1:1", "--json")
    assert (programs.status, programs.document["error"]["code"]) == (4, "broker-unreachable")


def test_errors_map_to_the_agreed_statuses() -> None:
    assert describe(PlanInfeasible("no")).exit_code == 3
    assert describe(InvalidModel("broken\nfile")).message == "broken file"
    assert describe(KeyboardInterrupt()).exit_code == 130
    missing = describe(ModuleNotFoundError("No module named 'rich'", name="rich.console"))
    assert missing.message.startswith("splitctl needs rich, which is not installed here")
    assert "install '.[controller]'" in missing.message
    assert describe(ExceptionGroup("several", [ZeroDivisionError("by zero")])).message.startswith(
        "internal error (ZeroDivisionError: by zero)"
    )


def test_a_defect_is_one_sentence_and_its_traceback_is_had_on_request(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(common, "inherit_settings", broken)
    told = run("nodes")
    assert told.status == 1
    assert told.err == (
        "splitctl: internal error (ZeroDivisionError: by zero); "
        "run again with EDGESPLIT_DEBUG=1 for the details and report them\n"
    )
    monkeypatch.setenv("EDGESPLIT_DEBUG", "1")
    programs = run("nodes", "--json")
    assert programs.document["error"]["code"] == "internal-error"
    assert "Traceback" in programs.err


def test_ctrl_c_is_status_130_and_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(common, "inherit_settings", interrupted)
    told = run("nodes")
    assert (told.status, told.out, told.err.count("\n")) == (130, "", 1)


def test_a_reader_that_leaves_is_no_error() -> None:
    code = (
        "import sys, os; from edgesplit_controller.cli.entry import main\n"
        "reader, writer = os.pipe(); os.close(reader); os.dup2(writer, 1)\n"
        "sys.exit(main(['solve', '--help']))"
    )
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
