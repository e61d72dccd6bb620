"""`splitctl drain` and `undrain`: empty a node for maintenance.

Owns: these commands. Its rule: what stays on the node is said, and the exit status is 3 then. Not here: what moves, and where
to (the controller), leaving a node out for good (`cli/commands/placement.py`).
"""

from __future__ import annotations

import click

from edgesplit.operations.upkeep_operations import DrainDocument, DrainNode, UndrainNode
from edgesplit_controller.cli.ask import ask
from edgesplit_controller.cli.common import Settings, common_options, help_epilog, print_json
from edgesplit_controller.cli.shell.completion import node_names

__all__ = ["drain", "undrain"]

STAYS = 3
"""Exit status where the node is not empty: no plan does without it."""
_KEYS = "{node, drained, models: [{model, epoch, moved, stays}]}; stays says why a part of it stays there, and is empty where none does."


@click.command(epilog=help_epilog("splitctl drain edge\nsplitctl undrain edge", _KEYS))
@click.argument("node", shell_complete=node_names)
@common_options
def drain(settings: Settings, node: str) -> None:
    """Leave NODE out of plans, and move off it what runs there.

    Models that have a part there are planned again at once, without it, and requests go on meanwhile; returns when the
    node holds nothing any more. It stays drained, also when it goes away and comes back, until undrain. What cannot move
    is said, and serves on there (exit status 3): a model whose source the node is, one that has no plan without it, a
    plan that was given. Run it again once that was changed.
    """
    document = ask(settings, DrainNode(name=node), DrainDocument, show=True)
    if settings.json:
        print_json(document)
    else:
        _show(document)
    if any(row.stays for row in document.models):
        raise click.exceptions.Exit(STAYS)


@click.command(epilog=help_epilog("splitctl undrain edge", _KEYS))
@click.argument("node", shell_complete=node_names)
@common_options
def undrain(settings: Settings, node: str) -> None:
    """Let plans use NODE again, wherever that pays."""
    document = ask(settings, UndrainNode(name=node), DrainDocument, show=True)
    if settings.json:
        print_json(document)
        return
    click.echo(f"{document.node} is drained no more: models are planned with it again where that pays")


def _show(document: DrainDocument) -> None:
    from edgesplit_controller.cli.views.layout import console  # noqa: PLC0415 - programs do without rich

    out = console()
    staying = [row for row in document.models if row.stays]
    for row in document.models:
        if not row.stays:
            how = f"serves as epoch {row.epoch} without it" if row.moved else f"serves on as epoch {row.epoch}"
            out.print(f"{row.model} {how}")
    for row in staying:
        out.print(f"{row.model} stays on {document.node}: {row.stays}")
    held = ", ".join(row.model for row in staying)
    state = f"is drained, but still holds {held}" if staying else "is drained and empty"
    out.print(f"{document.node} {state}; plans leave it out until splitctl undrain {document.node}")
