"""`edgesplit-agent join` and `edgesplit-agent leave`.

Owns: options, what is printed, exit codes: 2 for wrong use, 4 where the controller does not answer, 1 otherwise. Its rule: as of splitctl:
with `--json` one document on standard output, progress on standard error. Not here: the steps (`join.py`, `leave.py`).
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from edgesplit.errors import EdgesplitError, InvalidInput

__all__ = ["join", "leave"]

EXIT_WRONG_USE = 2

F = TypeVar("F", bound=Callable[..., Any])
_config = click.option(
    "--config", type=click.Path(path_type=Path), help="The agent's file; by default /etc/edgesplit/agent.toml."
)
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")


def _told(command: F) -> F:
    """Print errors as one sentence, or as a document."""

    @functools.wraps(command)
    def told(*arguments: Any, as_json: bool, **options: Any) -> None:
        try:
            command(*arguments, as_json=as_json, **options)
        except EdgesplitError as error:
            if as_json:
                document = {"error": {"code": error.code, "message": str(error)}}
                click.echo(msgspec.json.encode(document))
            else:
                click.echo(f"edgesplit-agent: {error}", err=True)
            sys.exit(EXIT_WRONG_USE if isinstance(error, InvalidInput) else error.exit_code)

    return told  # type: ignore[return-value]


def _say(text: str) -> None:
    click.echo(text, err=True)


@click.command(
    epilog="Example: edgesplit-agent join https://192.0.2.11:7480 --token esj_... --service (splitctl node add prints the line). "
    "Keys of the document: name, changed, authority, expires_unix_s, configuration, folder, addresses, service.",
)
@click.argument("url", metavar="https://CONTROLLER:7480")
@click.option(
    "--token",
    required=True,
    envvar="EDGESPLIT_JOIN_TOKEN",
    help="Used once; also from the variable EDGESPLIT_JOIN_TOKEN.",
)
@click.option("--name", default="", help="The node's name, where it should be compared with the token's.")
@click.option("--service", is_flag=True, help="Install the systemd service and start it (root).")
@_config
@_json
@click.pass_obj
@_told
def join(
    given: Path | None, /, *, url: str, token: str, name: str, service: bool, config: Path | None, as_json: bool
) -> None:
    """Join a secured fleet: make a key, have it certified, write the configuration.

    The token says by which authority it was given: nothing is told to anybody else. Running it again is harmless.
    """
    from edgesplit_agent.joining.join import Joining  # noqa: PLC0415 - the daemon's start needs none of it
    from edgesplit_agent.joining.node_files import NodeFiles  # noqa: PLC0415
    from edgesplit_agent.joining.service_unit import agent_unit  # noqa: PLC0415

    files = NodeFiles.of(config or given)
    document = Joining(files, agent_unit() if service else None, _say).join(url, token, name)
    if as_json:
        click.echo(msgspec.json.encode(document))
        return
    word = "joined" if document.changed else "had joined already"
    then = "" if service else f"; run it: edgesplit-agent --config {document.configuration}"
    click.echo(f"node {document.name} {word}{then}")


@click.command(epilog="Example: edgesplit-agent leave. Keys of the document: name, done.")
@click.option("--purge", is_flag=True, help="Remove the cache of models and measured profiles too.")
@_config
@_json
@click.pass_obj
@_told
def leave(given: Path | None, /, *, purge: bool, config: Path | None, as_json: bool) -> None:
    """Undo joining: stop and remove the service, remove identity and configuration. Running it again is harmless."""
    from edgesplit_agent.joining.leave import leave_fleet  # noqa: PLC0415
    from edgesplit_agent.joining.node_files import NodeFiles  # noqa: PLC0415
    from edgesplit_agent.joining.service_unit import agent_unit  # noqa: PLC0415

    document = leave_fleet(NodeFiles.of(config or given), agent_unit(), purge=purge)
    if as_json:
        click.echo(msgspec.json.encode(document))
        return
    for text in document.done:
        click.echo(text)
    if document.name:
        click.echo(f"node {document.name} has left; splitctl node remove {document.name} has the fleet forget it")
    elif not document.done:
        click.echo("nothing to undo: this machine is in no fleet")
