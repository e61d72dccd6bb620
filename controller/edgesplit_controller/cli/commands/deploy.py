"""`splitctl deploy` and `splitctl undeploy`: begin and end serving.

Owns: these two commands. Its rule: they return when the epoch serves, or has ended. Not here: planning.
"""

from __future__ import annotations

from pathlib import Path

import click

from edgesplit.formatting import time_span
from edgesplit.operations.plan_operations import DeployDocument, DeployModel, UndeployModel
from edgesplit_controller.cli.ask import SILENCE_S, ask
from edgesplit_controller.cli.common import Settings, common_options, help_epilog, positive_seconds, print_json, warn
from edgesplit_controller.cli.plan_file import read_plan
from edgesplit_controller.cli.shell.completion import model_names, node_names
from edgesplit_controller.cli.views.plan_view import show_sources

__all__ = ["deploy", "undeploy"]


@click.command(
    epilog=help_epilog(
        "splitctl deploy yolo --source device\nsplitctl deploy yolo --source edge --wait 30\nsplitctl deploy yolo --source 'cam*' --on site=home,role=edge\n"
        "splitctl solve problem.json --json > plan.json && splitctl deploy yolo --source device --plan plan.json",
        "{model, epoch, seconds, reason, warnings, sources}; epoch numbers the plan that now serves, seconds is how long it "
        "took, sources has a row for each source.",
    )
)
@click.argument("name", shell_complete=model_names)
@click.option(
    "--source",
    metavar="NODE",
    shell_complete=node_names,
    required=True,
    help="Where inputs arise and outputs are needed; a pattern ('cam*') makes every node that matches a source.",
)
@click.option(
    "--on",
    metavar="SELECTOR",
    default="",
    help="Nodes that plans may use beside the source, by their labels: site=home,role!=gateway (all must hold). "
    "Without it: nodes of the source's site, and those that have no label site.",
)
@click.option(
    "--wait",
    "wait_s",
    metavar="SECONDS",
    type=positive_seconds,
    default=120.0,
    show_default=True,
    help="How long the plan may take to serve before this gives up. [s]",
)
@click.option(
    "--plan",
    "file",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path),
    help="Serve exactly this plan (JSON, as solve --json prints one: assignment, quantized, codecs) and keep it.",
)
@common_options
def deploy(  # noqa: PLR0917 - one parameter an option
    settings: Settings, name: str, source: str, on: str, wait_s: float, file: Path | None
) -> None:
    """Plan the model NAME and serve it with its requests arising on a node.

    Returns when the plan serves. Again with another source, it moves the model there; requests in flight finish. With a
    pattern every node that matches gets a plan of its own, nodes that join later too. A plan given
    with --plan is not planned again by itself: deploy without it, set-weights, pin, unpin, forbid and allow ask for a plan.
    """
    plan = read_plan(file) if file is not None else None
    operation = DeployModel(name=name, source=source, wait_s=wait_s, plan=plan, on=on)
    document = ask(settings, operation, DeployDocument, show=True, silence_s=max(SILENCE_S, wait_s + 30.0))
    for sentence in document.warnings:
        warn(sentence)
    if settings.json:
        print_json(document)
    else:
        _tell(f"{document.model} serves epoch {document.epoch} after {time_span(document.seconds)}", document.reason)
        if len(document.sources) > 1:
            show_sources(document.sources)


@click.command(
    epilog=help_epilog(
        "splitctl undeploy yolo",
        "{model, epoch, seconds, reason, warnings, sources}; epoch is that of the plan that ended.",
    )
)
@click.argument("name", shell_complete=model_names)
@common_options
def undeploy(settings: Settings, name: str) -> None:
    """End serving the model NAME; it stays added."""
    document = ask(settings, UndeployModel(name=name), DeployDocument, show=True)
    if settings.json:
        print_json(document)
    else:
        _tell(f"{document.model} no longer serves; its last epoch was {document.epoch}", document.reason)


def _tell(sentence: str, reason: str) -> None:
    click.echo(f"{sentence} ({reason})" if reason else sentence)
