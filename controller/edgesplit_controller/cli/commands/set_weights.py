"""`splitctl set-weights`: what the operator wants.

Owns: this command and the check of what was typed. Its rule: what cannot be a goal is wrong use and never reaches the
controller. Not here: what goals mean (the planner).
"""

from __future__ import annotations

import math

import click

from edgesplit.operations.goal_operations import LimitChange, SetWeights, WeightsRow
from edgesplit_controller.cli.ask import ask
from edgesplit_controller.cli.common import Settings, common_options, help_epilog, print_json, warn
from edgesplit_controller.cli.quantities import share
from edgesplit_controller.cli.shell.completion import model_names

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


def limit(text: str | LimitChange) -> LimitChange:
    """Read a limit, a number like a weight or `none`, which clears it.

    Raises:
        click.BadParameter: It is something else.
    """
    if isinstance(text, LimitChange):
        return text
    return LimitChange(None if text.lower() == "none" else weight(text))


def floor(text: str | LimitChange) -> LimitChange:
    """Read a battery floor, a share such as `20%` or `0.2`, or `none`, which clears it.

    Raises:
        click.BadParameter: It is something else.
    """
    if isinstance(text, LimitChange) or text.lower() == "none":
        return text if isinstance(text, LimitChange) else LimitChange(None)
    value = share(text)
    if value is None:
        raise click.BadParameter(f"{text!r} must be a share below 100%, such as 20% or 0.2, or none")
    return LimitChange(value)


def above_zero(text: str | float) -> float:
    """Read a finite number above 0.

    Raises:
        click.BadParameter: It is something else.
    """
    amount = weight(text)
    if amount == 0:
        raise click.BadParameter(f"{text!r} must be a number above 0")
    return amount


def rate(text: str | LimitChange) -> LimitChange:
    """Read a rate above 0, or `none`, which clears it. [1/s]

    Raises:
        click.BadParameter: It is something else.
    """
    if isinstance(text, LimitChange) or text.lower() == "none":
        return text if isinstance(text, LimitChange) else LimitChange(None)
    return LimitChange(above_zero(text))


@click.command(
    "set-weights",
    epilog=help_epilog(
        "splitctl set-weights --latency 0.5 --energy 0.5\n"
        "splitctl set-weights --energy 1.0 --max-noise 0.5\n"
        "splitctl set-weights --device-energy none --model yolo\n"
        "splitctl set-weights --min-rate 15 --dry-run\n"
        "splitctl set-weights --min-battery 20% --battery-hours 8",
        "a list of {model, epoch, changed, warnings, then, now}, one entry for each deployed model; changed says whether the "
        "assignment differs from before. With --dry-run, epoch is the one that serves, changed what would be, and then the plan "
        "that would serve, as in splitctl what-if, beside the one that does (now); else both are null.",
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
@click.option(
    "--min-rate",
    metavar="R|none",
    type=rate,
    help="Requests a second that must be sustained, many at a time. [1/s]",
)
@click.option(
    "--min-battery",
    metavar="SHARE|none",
    type=floor,
    help="What must be left in the source's battery, such as 20%; becomes a limit on its energy per request.",
)
@click.option("--battery-hours", metavar="H", type=above_zero, help="For how long, from any moment on; default 8. [h]")
@click.option(
    "--battery-rate",
    metavar="R|none",
    type=rate,
    help="Requests per second to expect until served ones were measured; default 1. [1/s]",
)
@click.option(
    "--model",
    metavar="NAME",
    shell_complete=model_names,
    help="Only this model; default: all, and those deployed later.",
)
@click.option("--dry-run", is_flag=True, help="Show the plans that would result; nothing is stored.")
@common_options
def set_weights(
    settings: Settings,
    *,
    latency: float | None,
    energy: float | None,
    max_noise: LimitChange | None,
    device_energy: LimitChange | None,
    min_rate: LimitChange | None,
    min_battery: LimitChange | None,
    battery_hours: float | None,
    battery_rate: LimitChange | None,
    model: str | None,
    dry_run: bool,
) -> None:
    """Store the goals and re-plan at once.

    Returns when the new plans serve. Goals that are not named persist. A model without a plan under the new goals keeps
    its goals and its plan (exit status 3).
    """
    named = [weight for weight in (latency, energy) if weight is not None]
    others = (max_noise, device_energy, min_rate, min_battery, battery_hours, battery_rate)
    if not named and all(goal is None for goal in others):
        raise click.UsageError(
            "Name at least one of --latency, --energy, --max-noise, --device-energy, --min-rate, --min-battery, "
            "--battery-hours and --battery-rate"
        )
    if named and sum(named) == 0:
        raise click.UsageError("Give --latency or --energy a value above 0, the weight left out counts as 0")
    operation = SetWeights(
        latency=latency,
        energy=energy,
        max_noise=max_noise,
        device_energy_j=device_energy,
        min_rate=min_rate,
        min_battery=min_battery,
        battery_hours=battery_hours,
        battery_requests_per_s=battery_rate,
        model=model,
        dry_run=dry_run,
    )
    rows = ask(settings, operation, list[WeightsRow], show=True)
    for row in rows:
        for sentence in row.warnings:
            warn(sentence)
    if settings.json:
        print_json(rows)
        return
    if dry_run:
        from edgesplit_controller.cli.views.study_view import show_dry_run  # noqa: PLC0415 - programs do without rich

        show_dry_run(rows)
        return
    for row in rows:
        effect = "runs a new assignment" if row.changed else "keeps its assignment"
        click.echo(f"{row.model} {effect} as epoch {row.epoch}")
    if not rows:
        click.echo("the goals are stored; no model is deployed")
