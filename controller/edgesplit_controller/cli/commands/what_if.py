"""`splitctl what-if`: the plan that would result under other conditions.

Owns: this command. Its rule: it changes nothing. Not here: planning, the page (`cli/views/study_view.py`).
"""

from __future__ import annotations

import click

from edgesplit.operations.goal_operations import LimitChange
from edgesplit.operations.study_operations import LinkChange, WhatIf, WhatIfDocument
from edgesplit_controller.cli.ask import ask
from edgesplit_controller.cli.commands.set_weights import limit, rate, weight
from edgesplit_controller.cli.common import Settings, common_options, help_epilog, print_json
from edgesplit_controller.cli.quantities import Link, link
from edgesplit_controller.cli.shell.completion import model_names, node_names

__all__ = ["what_if"]


@click.command(
    "what-if",
    epilog=help_epilog(
        "splitctl what-if yolo --link device:edge=2MB/s\n"
        "splitctl what-if yolo --link device:cloud=16Mbit/s,20ms --without edge --max-noise 0.3\n"
        "splitctl what-if yolo --energy 1\n"
        "splitctl what-if yolo --min-rate 15",
        "{model, epoch, supposed: [SENTENCE], active: {status, latency_s (of the simulated timeline), energy_j, "
        "device_energy_j, noise, per_node, quantized, broken, latency_interval_s, energy_interval_j, rate_hz, bottleneck, loaded_latency_s}, active_then: the same under what is supposed or null "
        "where it could not run, then: the plan that would be made, same, moved, solve_s, placed: {source, components, quantized, codecs, timeline}}; "
        "same says whether it is the active one, moved counts operators that would change their node, placed has them as `plan` does.",
    ),
)
@click.argument("name", shell_complete=model_names)
@click.option(
    "--link",
    "links",
    metavar="FROM:TO=RATE[,LATENCY]",
    type=link,
    multiple=True,
    help="A link with other figures (B/s, kB/s, MB/s, GB/s, Mbit/s; ms, s), one direction; may be repeated.",
)
@click.option(
    "--without",
    metavar="NODE",
    multiple=True,
    shell_complete=node_names,
    help="A node that would be gone; may be repeated.",
)
@click.option("--latency", metavar="X", type=weight, help="Weight of latency; left out beside --energy: 0.")
@click.option("--energy", metavar="Y", type=weight, help="Weight of energy; left out beside --latency: 0.")
@click.option("--max-noise", metavar="R|none", type=limit, help="Bound on the output's noise.")
@click.option("--device-energy", metavar="J|none", type=limit, help="Limit on the source's own energy per request. [J]")
@click.option(
    "--min-rate", metavar="R|none", type=rate, help="Requests a second that must be sustained, many at a time. [1/s]"
)
@common_options
def what_if(
    settings: Settings,
    name: str,
    *,
    links: tuple[Link, ...],
    without: tuple[str, ...],
    latency: float | None,
    energy: float | None,
    max_noise: LimitChange | None,
    device_energy: LimitChange | None,
    min_rate: LimitChange | None,
) -> None:
    """Show the plan of the model NAME that would result, beside the active one; nothing is changed.

    Without a plan under these conditions the exit status is 3, and the reason names what conflicts.
    """
    goals = (latency, energy, max_noise, device_energy, min_rate)
    if not links and not without and all(goal is None for goal in goals):
        raise click.UsageError(
            "Suppose something: --link, --without, --max-noise, --device-energy, --min-rate, or a weight"
        )
    named = [value for value in (latency, energy) if value is not None]
    if named and sum(named) == 0:
        raise click.UsageError("Give --latency or --energy a value above 0, the weight left out counts as 0")
    operation = WhatIf(
        name=name,
        links=tuple(
            LinkChange(from_=start, to=end, bandwidth_bytes_per_s=rate, latency_s=span)
            for start, end, rate, span in links
        ),
        without=without,
        latency=latency,
        energy=energy,
        max_noise=max_noise,
        device_energy_j=device_energy,
        min_rate=min_rate,
    )
    document = ask(settings, operation, WhatIfDocument, show=True)
    if settings.json:
        print_json(document)
        return
    from edgesplit_controller.cli.views.study_view import show_what_if  # noqa: PLC0415 - programs do without rich

    show_what_if(document)
