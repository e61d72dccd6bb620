"""`splitctl pin`, `unpin`, `forbid` and `allow`: where operators may run.

Owns: these commands. Its rule: they return when the new plan serves, and name the units a pin reaches. Not here: what
patterns select (the controller knows the operators).
"""

from __future__ import annotations

from collections.abc import Sequence

import click

from edgesplit.operations.goal_operations import (
    AllowNode,
    ForbiddenRow,
    ForbidNode,
    PinOperators,
    PinRow,
    PinsDocument,
    UnpinOperators,
)
from edgesplit.planning.goals import PinRule
from edgesplit_controller.cli.ask import ask
from edgesplit_controller.cli.common import Settings, common_options, help_epilog, print_json, warn
from edgesplit_controller.cli.shell.completion import model_names, node_names

__all__ = ["allow", "forbid", "pin", "unpin"]

_PATTERNS = "edgesplit.patterns-before-node"
_PINS_KEYS = (
    "{model, epoch, changed, pins: [{select, nodes: [NODE], operators: [OPERATOR], units: [UNIT], also: [OPERATOR]}], "
    "warnings}; "
    "epoch is 0 while the model is not deployed, changed says whether the assignment differs from before, also lists "
    "operators that were not named but share a unit with one that was."
)
_FORBIDDEN_KEYS = (
    "a list of {model, epoch, changed, forbidden: [NODE]}, one entry for each model; changed says whether the "
    "assignment differs from before."
)


class _Pin(click.Command):
    """Remembers how many patterns stand in front of the first --node: what follows it names nodes."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        place = next((i for i, text in enumerate(args) if text.partition("=")[0] == "--node"), len(args))
        values, _, _ = self.make_parser(ctx).parse_args(args[:place])
        given = values.get("pattern")
        ctx.meta[_PATTERNS] = len(given) if isinstance(given, tuple) else 0
        return super().parse_args(ctx, args)


@click.command(
    cls=_Pin,
    epilog=help_epilog(
        "splitctl pin yolo '/model.22/*' --node cloud --node edge\n"
        "splitctl pin yolo --input\n"
        "splitctl pin yolo --first 10 --node device",
        _PINS_KEYS,
    ),
)
@click.argument("name", shell_complete=model_names)
@click.argument("pattern", nargs=-1)
@click.option(
    "--node",
    "nodes",
    metavar="NODE",
    shell_complete=node_names,
    multiple=True,
    help="Where they may run; may be repeated, or name several apart by commas or spaces. Default: the source.",
)
@click.option("--first", metavar="N", type=click.IntRange(min=1), help="The first N operators in topological order.")
@click.option(
    "--input",
    "of_input",
    is_flag=True,
    help="Every operator that reads an input, so that raw input never leaves. This is no privacy: inputs can be reconstructed from the "
    "tensors that leave instead.",
)
@common_options
def pin(
    settings: Settings,
    name: str,
    pattern: tuple[str, ...],
    *,
    nodes: tuple[str, ...],
    first: int | None,
    of_input: bool,
) -> None:
    """Keep operators of the model NAME on some nodes: those whose name matches a PATTERN, or --first N, or --input.

    PATTERN is shell-style (*, ?, [abc]); several, in front of --node, make a pin each. Operators of one unit are placed together, so that a pin on one pins them all.
    Kept with the goals, and re-planned at once: without a plan under the pin nothing changes (exit status 3). Of several
    pins on an operator all hold.
    """
    wants_pattern = first is None and not of_input
    # Before several patterns could be given, what stood behind the first one named nodes; behind --node it still does.
    count = max(1, click.get_current_context().meta[_PATTERNS]) if wants_pattern else 0
    patterns, rest = pattern[:count], pattern[count:]
    if (wants_pattern and not all(patterns or ("",))) or (first is not None and of_input) or (rest and not nodes):
        raise click.UsageError("Give exactly one of PATTERN, --first N and --input (quote the pattern)")
    named = [part.strip() for node in (*nodes, *rest) for part in node.split(",") if part.strip()]
    where = tuple(dict.fromkeys(named))
    if wants_pattern:
        rules = [PinRule(kind="pattern", pattern=text, nodes=where) for text in dict.fromkeys(patterns)]
    else:
        rules = [PinRule(kind="input" if of_input else "first", first=first or 0, nodes=where)]
    operation = PinOperators(name=name, rule=rules[0], also=tuple(rules[1:]))
    document = ask(settings, operation, PinsDocument, show=True)
    for sentence in document.warnings:
        warn(sentence)
    if settings.json:
        print_json(document)
        return
    _tell_effect(document.model, document.epoch, changed=document.changed)
    for row in document.pins:
        if row.select in {rule.selector for rule in rules}:
            _tell_pin(row)


@click.command(
    epilog=help_epilog(
        "splitctl unpin yolo '/model.22/*'\nsplitctl unpin yolo --input\nsplitctl unpin yolo --all", _PINS_KEYS
    )
)
@click.argument("name", shell_complete=model_names)
@click.argument("pattern", nargs=-1)
@click.option("--first", is_flag=True, help="The pin made with --first.")
@click.option("--input", "of_input", is_flag=True, help="The pin made with --input.")
@click.option("--all", "everything", is_flag=True, help="All pins of the model.")
@common_options
def unpin(
    settings: Settings, name: str, pattern: tuple[str, ...], *, first: bool, of_input: bool, everything: bool
) -> None:
    """Lift pins of the model NAME: those of each PATTERN, as it was given, or --first, --input, or --all; plan again."""
    if sum((bool(pattern), first, of_input, everything)) != 1:
        raise click.UsageError("Give exactly one of PATTERN, --first, --input and --all")
    select, *also = [None] if everything else pattern or ["--first" if first else "--input"]
    operation = UnpinOperators(name=name, select=select, also=tuple(text for text in also if text is not None))
    document = ask(settings, operation, PinsDocument, show=True)
    for sentence in document.warnings:
        warn(sentence)
    if settings.json:
        print_json(document)
        return
    _tell_effect(document.model, document.epoch, changed=document.changed)
    click.echo(
        f"pinned still: {', '.join(row.select for row in document.pins)}" if document.pins else "nothing is pinned"
    )


@click.command(
    epilog=help_epilog("splitctl forbid edge\nsplitctl forbid edge --model yolo", _FORBIDDEN_KEYS),
)
@click.argument("node", shell_complete=node_names)
@click.option(
    "--model",
    metavar="NAME",
    shell_complete=model_names,
    help="Only for this model; default: all, and those added later.",
)
@common_options
def forbid(settings: Settings, node: str, model: str | None) -> None:
    """Use NODE no more and re-plan at once.

    Kept with the goals. A model that has no plan without NODE, or whose source it is, changes nothing (exit status 3).
    """
    rows = ask(settings, ForbidNode(node=node, model=model), list[ForbiddenRow], show=True)
    _tell_rows(settings, rows, f"{node} is forbidden for models added later")


@click.command(
    epilog=help_epilog("splitctl allow edge\nsplitctl allow edge --model yolo", _FORBIDDEN_KEYS),
)
@click.argument("node", shell_complete=node_names)
@click.option(
    "--model",
    metavar="NAME",
    shell_complete=model_names,
    help="Only for this model; default: all, and those added later.",
)
@common_options
def allow(settings: Settings, node: str, model: str | None) -> None:
    """Let NODE, which was forbidden, be used again and re-plan at once."""
    rows = ask(settings, AllowNode(node=node, model=model), list[ForbiddenRow], show=True)
    _tell_rows(settings, rows, f"{node} is allowed for models added later")


def _tell_rows(settings: Settings, rows: Sequence[ForbiddenRow], without_models: str) -> None:
    if settings.json:
        print_json(rows)
        return
    for row in rows:
        _tell_effect(row.model, row.epoch, changed=row.changed)
        if row.forbidden:
            click.echo(f"{row.model} may not use: {', '.join(row.forbidden)}")
    if not rows:
        click.echo(without_models)


def _tell_effect(model: str, epoch: int, *, changed: bool) -> None:
    if epoch == 0:
        click.echo(f"{model} is not deployed; this is kept for when it is")
    else:
        click.echo(f"{model} {'runs a new assignment' if changed else 'keeps its assignment'} as epoch {epoch}")


def _tell_pin(row: PinRow) -> None:
    where = ", ".join(row.nodes) or "its source"
    click.echo(f"{row.select}: {len(row.operators)} operators in {len(row.units)} units are pinned to {where}")
    click.echo(f"units: {', '.join(row.units)}")
    if row.also:
        click.echo(f"pinned with them, as parts of these units: {', '.join(row.also)}")
