"""The entry point of splitctl.

Owns: the table of commands, the options before the command, and the exit status. Its rule: everything that is
slow to import is imported by the command that needs it (`splitctl --help` answers in under 0.3 s). Not here: what
commands do (`commands/`), how errors read (`failures.py`).
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from itertools import pairwise

import click

from edgesplit_controller.cli.common import DEFAULT_BROKER
from edgesplit_controller.cli.failures import report
from edgesplit_controller.cli.lazy import LazyCommand, LazyGroup

__all__ = ["main", "splitctl"]

_COMMANDS = "edgesplit_controller.cli.commands"


def _print_version(context: click.Context, _parameter: click.Parameter, asked: bool) -> None:
    if not asked or context.resilient_parsing:
        return
    from edgesplit.release import installed_version  # noqa: PLC0415 - slow to import, seldom needed

    click.echo(f"splitctl {installed_version()}")
    context.exit()


@click.group(
    cls=LazyGroup,
    name="splitctl",
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog=(
        "\b\nExample:\n"
        "  $ splitctl model add yolo yolo.onnx --calibration images.npz\n"
        "  $ splitctl deploy yolo --source device\n"
        "  $ splitctl set-weights --energy 1.0 --max-noise 0.5\n"
        "  $ splitctl plan yolo\n\n"
        "Exit status: 0 done, 2 wrong use, 3 no plan satisfies the constraints, 4 broker or controller not reached, "
        "1 anything else. With --json an error is {error: {code, message}}."
    ),
    commands_by_name={
        "nodes": LazyCommand(f"{_COMMANDS}.fleet", "nodes", "List the machines and what they report"),
        "node": LazyCommand(f"{_COMMANDS}.trust.joining", "node", "Let machines join, revoke and forget them"),
        "links": LazyCommand(f"{_COMMANDS}.fleet", "links", "List the measured network paths between them"),
        "model": LazyCommand(f"{_COMMANDS}.model", "model", "Add, list, show and remove models"),
        "deploy": LazyCommand(f"{_COMMANDS}.deploy", "deploy", "Plan a model and serve it, or move it"),
        "undeploy": LazyCommand(f"{_COMMANDS}.deploy", "undeploy", "End serving a model"),
        "set-weights": LazyCommand(f"{_COMMANDS}.set_weights", "set_weights", "Set the goals and re-plan at once"),
        "pin": LazyCommand(f"{_COMMANDS}.placement", "pin", "Keep operators on some nodes"),
        "unpin": LazyCommand(f"{_COMMANDS}.placement", "unpin", "Let pinned operators go where they pay"),
        "forbid": LazyCommand(f"{_COMMANDS}.placement", "forbid", "Use a node no more"),
        "allow": LazyCommand(f"{_COMMANDS}.placement", "allow", "Use a forbidden node again"),
        "drain": LazyCommand(f"{_COMMANDS}.upkeep.drains", "drain", "Empty a node for maintenance"),
        "undrain": LazyCommand(f"{_COMMANDS}.upkeep.drains", "undrain", "Let plans use a drained node again"),
        "pause": LazyCommand(f"{_COMMANDS}.upkeep.pauses", "pause", "Plan models no more by themselves"),
        "resume": LazyCommand(f"{_COMMANDS}.upkeep.pauses", "resume", "Plan models by themselves again"),
        "plan": LazyCommand(f"{_COMMANDS}.plan", "plan", "Show the active plan, predicted and measured"),
        "explain": LazyCommand(f"{_COMMANDS}.explain", "explain", "Say why the active plan is as it is"),
        "what-if": LazyCommand(f"{_COMMANDS}.what_if", "what_if", "Show the plan other conditions would bring"),
        "frontier": LazyCommand(f"{_COMMANDS}.frontier", "frontier", "Show what latency costs in energy"),
        "infer": LazyCommand(f"{_COMMANDS}.infer", "infer", "Run requests through a deployed model"),
        "solve": LazyCommand(f"{_COMMANDS}.solve", "solve", "Plan a problem file offline"),
        "status": LazyCommand(f"{_COMMANDS}.inspection.status", "status", "Say what serves, what is wrong, what to do"),
        "top": LazyCommand(f"{_COMMANDS}.inspection.top", "top", "Show what goes on now, live"),
        "dashboard": LazyCommand(
            f"{_COMMANDS}.inspection.dashboard", "dashboard", "Open the fleet's page in a browser"
        ),
        "trace": LazyCommand(f"{_COMMANDS}.inspection.trace", "trace", "Follow one request across nodes"),
        "doctor": LazyCommand(f"{_COMMANDS}.inspection.doctor", "doctor", "Look into everything, each with what to do"),
        "events": LazyCommand(f"{_COMMANDS}.events", "events", "Tell what happened and why"),
        "backup": LazyCommand(f"{_COMMANDS}.upkeep.backups", "backup", "Save what the controller keeps to a file"),
        "restore": LazyCommand(f"{_COMMANDS}.upkeep.backups", "restore", "Take over a backup"),
        "ca": LazyCommand(f"{_COMMANDS}.trust.authority", "authority", "Make a secured fleet's authority"),
        "broker": LazyCommand(
            f"{_COMMANDS}.trust.authority", "broker", "Write Mosquitto's settings for a secured fleet"
        ),
        "operator": LazyCommand(f"{_COMMANDS}.trust.joining", "operator", "Let people join, and revoke them"),
        "login": LazyCommand(f"{_COMMANDS}.trust.contexts", "login", "Become an operator of a secured fleet"),
        "context": LazyCommand(f"{_COMMANDS}.trust.contexts", "context_group", "Choose among fleets"),
        "token": LazyCommand(f"{_COMMANDS}.trust.tokens", "token", "Let programs send requests"),
        "certs": LazyCommand(f"{_COMMANDS}.trust.joining", "certs", "List certificates and when they end"),
        "completion": LazyCommand(f"{_COMMANDS}.upkeep.completion", "completion", "Print the completion of a shell"),
    },
)
@click.option(
    "--broker",
    metavar="URL",
    envvar="EDGESPLIT_BROKER",
    show_envvar=True,
    default=DEFAULT_BROKER,
    show_default=True,
    help="MQTT broker (default: the current context's, if there is one).",
)
@click.option(
    "--context",
    "named",
    metavar="NAME",
    envvar="EDGESPLIT_CONTEXT",
    show_envvar=True,
    default="",
    help="Speak to the fleet of this context, as splitctl context list names them.",
)
@click.option(
    "--ca-file",
    metavar="FILE",
    envvar="EDGESPLIT_BROKER_CA_FILE",
    show_envvar=True,
    default="",
    help="With mqtts: certificates of the authorities that may have signed the broker's (default: the system's).",
)
@click.option(
    "--cert-file",
    metavar="FILE",
    envvar="EDGESPLIT_BROKER_CERT_FILE",
    show_envvar=True,
    default="",
    help="With mqtts: this user's certificate, where the broker asks for one.",
)
@click.option(
    "--key-file",
    metavar="FILE",
    envvar="EDGESPLIT_BROKER_KEY_FILE",
    show_envvar=True,
    default="",
    help="With mqtts: its key, where it is not in the same file.",
)
@click.option(
    "--server-name",
    metavar="NAME",
    envvar="EDGESPLIT_BROKER_SERVER_NAME",
    show_envvar=True,
    default="",
    help="With mqtts: the name in the broker's certificate, where it is not the URL's host.",
)
@click.option(
    "--identity",
    metavar="FOLDER",
    envvar="EDGESPLIT_IDENTITY",
    show_envvar=True,
    default="",
    help="This operator's authority.pem, certificate.pem and key.pem, for a secured fleet: requests are signed with it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document for programs.")
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Print the version and exit.",
)
@click.pass_context
def splitctl(context: click.Context, /, **_said: object) -> None:
    """Run one DNN over device, edge and cloud: add models, deploy them, set goals, see plans."""
    from edgesplit_controller.cli.user.contexts import settings_before  # noqa: PLC0415 - `splitctl --help` does without

    context.obj = settings_before(context)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run splitctl.

    Args:
        arguments: What follows the program's name; the process's own by default.

    Returns:
        The exit status: 0, or as `splitctl --help` lists them.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if "_SPLITCTL_COMPLETE" in os.environ:
        splitctl.main(given, prog_name="splitctl")
    try:
        with splitctl.make_context("splitctl", list(given)) as context:
            splitctl.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except BrokenPipeError:
        return _reader_left()
    except (Exception, KeyboardInterrupt) as error:
        try:
            return report(error, as_json=_asks_for_json(given))
        except BrokenPipeError:
            _reader_left()
            return 1
    return 0


def _asks_for_json(arguments: Sequence[str]) -> bool:
    """Whether errors, too, are for programs: of what could not be read nothing else tells."""
    return not {"--json", "--output=json"}.isdisjoint(arguments) or ("--output", "json") in pairwise(arguments)


def _reader_left() -> int:
    """`splitctl … | head` has read enough: no failure, and nothing may complain when the interpreter ends."""
    with contextlib.suppress(OSError):  # a captured stream has no descriptor
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main())
