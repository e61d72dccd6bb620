"""`splitctl set-weights`: what the operator wants.

Owns: this command and the check of what was typed. Its rule: what cannot be a goal is wrong use and never reaches the
controller. Not here: what goals mean (the planner).
"""

from __future__ import annotations

import math

import click

from edgesplit.requests import Limit, SetWeights, WeightsRow
from edgesplit_controller.cli.ask import ask
from edgesplit_controller.cli.common import Settings, common_options, help_epilog, print_json

__all__ = ["set_weights"]


def weight(text: str | float) -> float:
    """Read a weight, finite and at least 0. [1]

    Raises:
        click.BadParameter: It is something else.
    """
    try:
        amount = float(text)
    except ValueError:
        amount = math.nan
    if not math.isfinite(amount) or amount < 0:
        raise click.BadParameter(f"{text!r} must be a finite number of at least 0")
    return amount


def limit(text: str | Limit) -> Limit:
    """Read a limit, a number like a weight or `none`, which clears it.

    Raises:
        click.BadParameter: It is something else.
    """
    if isinstance(text, Limit):
        return text
    return Limit(None if text.lower() == "none" else weight(text))


@click.command(
    "set-weights",
    epilog=help_epilog(
        "splitctl set-weights --latency 0.5 --energy 0.5\n"
        "splitctl set-weights --energy 1.0 --max-noise 0.5\n"
        "splitctl set-weights --device-energy none --model yolo",
        "a list of {model, epoch, changed}, one entry for each deployed model; changed says whether the "
        "assignment differs from before.",
    ),
)
@click.option("--latency", metavar="X", type=weight, help="Weight of latency; left out beside --energy: 0.")
@click.option("--energy", metavar="Y", type=weight, help="Weight of energy; left out beside --latency: 0.")
@click.option("--max-noise", metavar="R|none", type=limit, help="Bound on the output's noise.")
@click.option(
    "--device-energy",
    metavar="J|none",
    type=limit,
    help="Limit on the source's own energy per request. [J]",
)
@click.option("--model", metavar="NAME", help="Only this model; default: all, and those deployed later.")
@common_options
def set_weights(
    settings: Settings,
    *,
    latency: float | None,
    energy: float | None,
    max_noise: Limit | None,
    device_energy: Limit | None,
    model: str | None,
) -> None:
    """Store the goals and re-plan at once.

    Returns when the new plans serve. Goals that are not named persist. A model without a plan under the new goals keeps
    its goals and its plan (exit status 3).
    """
    named = [weight for weight in (latency, energy) if weight is not None]
    if not named and max_noise is None and device_energy is None:
        raise click.UsageError("Name at least one of --latency, --energy, --max-noise and --device-energy")
    if named and sum(named) == 0:
        raise click.UsageError("Give --latency or --energy a value above 0, the weight left out counts as 0")
    operation = SetWeights(
        latency=latency, energy=energy, max_noise=max_noise, device_energy_j=device_energy, model=model
    )
    rows = ask(settings, operation, list[WeightsRow], show=True)
    if settings.json:
        print_json(rows)
        return
    for row in rows:
        effect = "runs a new assignment" if row.changed else "keeps its assignment"
        click.echo(f"{row.model} {effect} as epoch {row.epoch}")
    if not rows:
        click.echo("the goals are stored; no model is deployed")
