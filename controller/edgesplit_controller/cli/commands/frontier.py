"""`splitctl frontier`: what latency costs in energy, or either in rate.

Owns: this command and the files it writes. Its rule: what is missing to write them is said before the work begins. Not
here: the frontier (the planner's), its table (`cli/views/study_view.py`), its picture (`cli/views/frontier_picture.py`).
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import click
import msgspec

from edgesplit.errors import InvalidInput
from edgesplit.operations.study_operations import FrontierAxes, FrontierDocument, TraceFrontier
from edgesplit_controller.cli.ask import SILENCE_S, ask
from edgesplit_controller.cli.common import Settings, common_options, help_epilog, note, positive_seconds, print_json
from edgesplit_controller.cli.files import write_whole
from edgesplit_controller.cli.shell.completion import model_names

__all__ = ["frontier"]


@click.command(
    epilog=help_epilog(
        "splitctl frontier yolo\nsplitctl frontier yolo --axes latency,rate\n"
        "splitctl frontier yolo --points 30 --png frontier.png --output frontier.json",
        "{model, epoch, axes, latency_model, points: [{latency_s (under latency_model), timeline_s, energy_j, "
        "device_energy_j, noise, status, per_node, quantized, active, timeline_interval_s, energy_interval_j, rate_hz, bottleneck}], active: {...}, seconds}; points by rising "
        "latency (of energy,rate by rising energy), active is the active plan, which need not be one of them.",
    )
)
@click.argument("name", shell_complete=model_names)
@click.option(
    "--axes",
    type=click.Choice(["latency,energy", "latency,rate", "energy,rate"]),
    default="latency,energy",
    show_default=True,
    help="What is traded for what; rate: requests a second that a plan sustains, many at a time.",
)
@click.option(
    "--points",
    metavar="N",
    type=click.IntRange(2, 200),
    default=12,
    show_default=True,
    help="How many points at most, both ends included.",
)
@click.option(
    "--png", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Draw it; needs edgesplit[demo]."
)
@click.option(
    "--output",
    metavar="FILE.json",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the JSON document there.",
)
@click.option(
    "--time-limit",
    "time_limit_s",
    metavar="S",
    type=positive_seconds,
    default=60.0,
    show_default=True,
    help="For all points together. [s]",
)
@common_options
def frontier(
    settings: Settings,
    name: str,
    *,
    axes: FrontierAxes,
    points: int,
    png: Path | None,
    output: Path | None,
    time_limit_s: float,
) -> None:
    """Compute the plans of the model NAME that trade latency for energy without waste, or either for rate, under its limits.

    Goals' weights play no role; nothing is changed.
    """
    for option, file in (("--png", png), ("--output", output)):
        if file is not None and not file.absolute().parent.is_dir():
            raise click.BadParameter(f"the folder of {file} does not exist", param_hint=option)
    if png is not None and find_spec("PIL") is None:
        raise InvalidInput("--png needs Pillow, which is not installed: pip install 'edgesplit[demo]', or use --output")
    operation = TraceFrontier(name=name, points=points, time_limit_s=time_limit_s, axes=axes)
    document = ask(settings, operation, FrontierDocument, show=True, silence_s=max(SILENCE_S, time_limit_s + 30.0))
    if output is not None:
        write_whole(output, msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
        note(f"the frontier's {len(document.points)} points are in {output}")
    if png is not None:
        from edgesplit_controller.cli.views.frontier_picture import draw_frontier  # noqa: PLC0415 - Pillow may be missing

        write_whole(png, draw_frontier(document))
        note(f"its picture is in {png}")
    if settings.json:
        print_json(document)
        return
    from edgesplit_controller.cli.views.study_view import show_frontier  # noqa: PLC0415 - programs do without rich

    show_frontier(document)
