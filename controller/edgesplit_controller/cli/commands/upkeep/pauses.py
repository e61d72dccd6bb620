"""`splitctl pause` and `resume`: whether models are planned again by themselves.

Owns: these commands. Its rule: what is paused now is shown, whoever paused it. Not here: what a pause stops (the controller).
"""

from __future__ import annotations

import click

from edgesplit.formatting import clock
from edgesplit.operations.upkeep_operations import PausePlanning, PausesDocument, ResumePlanning
from edgesplit_controller.cli.ask import ask
from edgesplit_controller.cli.common import Settings, common_options, help_epilog, print_json
from edgesplit_controller.cli.shell.completion import model_names

__all__ = ["pause", "resume"]

_KEYS = "{all_unix_s, models: {MODEL: SINCE}}; what is paused now, and since when; all_unix_s is null unless all are."


@click.command(epilog=help_epilog("splitctl pause yolo\nsplitctl pause", _KEYS))
@click.argument("name", required=False, shell_complete=model_names)
@common_options
def pause(settings: Settings, name: str | None) -> None:
    """Plan the model NAME, or every model, no more by itself until it is resumed.

    Plans stay as they are whatever nodes and links do; returns once what was being prepared has ended. Fallbacks still serve while a
    node is lost, and commands still act: deploy, set-weights, pin, forbid and drain plan at once.
    """
    _tell(settings, ask(settings, PausePlanning(model=name), PausesDocument, show=True))


@click.command(epilog=help_epilog("splitctl resume yolo\nsplitctl resume", _KEYS))
@click.argument("name", required=False, shell_complete=model_names)
@common_options
def resume(settings: Settings, name: str | None) -> None:
    """Plan the model NAME by itself again, or every model; what changed meanwhile is looked at now."""
    _tell(settings, ask(settings, ResumePlanning(model=name), PausesDocument))


def _tell(settings: Settings, document: PausesDocument) -> None:
    if settings.json:
        print_json(document)
        return
    if document.all_unix_s is not None:
        click.echo(f"no model is planned again by itself, since {clock(document.all_unix_s)[:16]}")
    for name, since_s in document.models.items():
        click.echo(f"{name} is not planned again by itself, since {clock(since_s)[:16]}")
    if document.all_unix_s is None and not document.models:
        click.echo("every model is planned again by itself")
