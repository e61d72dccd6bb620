"""`splitctl node`: what is done with one machine of the fleet.

Owns: these commands. Its rule: the controller decides whether it may be done. Not here: lists (`nodes.py`), where
operators may run (`constraints.py`).
"""

from __future__ import annotations

import click

from edgesplit.operations.fleet_operations import NodeRemovedDocument, RemoveNode
from edgesplit_controller.cli.ask import ask
from edgesplit_controller.cli.common import Settings, common_options, help_epilog, inherit_settings, print_json

__all__ = ["node"]


@click.group(
    no_args_is_help=False,
    epilog=help_epilog("splitctl node remove edge-7", "see the help of each command."),
)
@click.option("--broker", metavar="URL", help="MQTT broker; also before the command.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document for programs.")
@click.pass_context
def node(context: click.Context, broker: str | None, as_json: bool) -> None:
    """Forget a machine that is gone for good."""
    context.obj = inherit_settings(context, broker, as_json)


@node.command(
    epilog=help_epilog(
        "splitctl node remove edge-7",
        "{name, topics: [TOPIC], named_by: [MODEL]}; topics are the retained messages that were removed from the broker, "
        "named_by lists models whose pins or forbidden nodes still name it.",
    )
)
@click.argument("name")
@common_options
def remove(settings: Settings, name: str) -> None:
    """Forget the node NAME and all that the broker keeps of it.

    Refused while its agent is connected, for it would come right back, and while a model is deployed from it.
    """
    document = ask(settings, RemoveNode(name=name), NodeRemovedDocument, show=True)
    if settings.json:
        print_json(document)
        return
    click.echo(f"{document.name} is removed; {len(document.topics)} messages of it were kept by the broker")
    for model in document.named_by:
        click.echo(f"pins or forbidden nodes of {model} still name it: see splitctl unpin and splitctl allow")
