"""`splitctl solve`: offline planning of a problem file.

Owns: this command. Its rule: no broker, no controller; the document is printed even when there is no plan. Not
here: the planner (`planner/`), the document (`solution_document.py`).
"""

from __future__ import annotations

import time
from pathlib import Path

import click

from edgesplit_controller.cli.common import Settings, help_epilog, note, offline_options, positive_seconds, print_json

__all__ = ["solve"]

EXIT_INFEASIBLE = 3


def _print_schema(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from edgesplit.planning.problem_file import problem_schema  # noqa: PLC0415 - as below

        click.echo(problem_schema(), nl=False)
        context.exit()


@click.command(
    epilog=help_epilog(
        "splitctl solve problem.json.gz\nsplitctl solve problem.json --time-limit 10 --json",
        "{status: optimal, feasible or infeasible, latency_s (under the problem's latency_model), timeline_s, energy_j, "
        "device_energy_j, noise, score, bound, gap, assignment: {OPERATOR: NODE}, quantized, codecs: {TENSOR: CODEC}, "
        "per_node, components, timeline, ranges, timings: {build_s, solve_s, total_s}, reason, rate_hz, bottleneck, "
        "concession: null or {tolerance, share, components, components_of_best, cut_bytes, cut_bytes_of_best, "
        "latency_of_best_s, energy_of_best_j, text}}; printed "
        "with exit status 3 too. total_s runs from opening the file to the result, imports excluded.",
    )
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path))
@click.option(
    "--time-limit",
    "time_limit_s",
    metavar="S",
    type=positive_seconds,
    default=60.0,
    show_default=True,
    help="After this the best plan known is returned with its proven gap. [s]",
)
@click.option(
    "--tolerance",
    metavar="T",
    type=click.FloatRange(0.0, 1.0),
    default=0.0,
    show_default=True,
    help="A plan may be worse than the best by this share (0.02: 2 %) if it has fewer components then, or as many and fewer "
    "bytes cut.",
)
@click.option(
    "--schema",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_schema,
    help="Print the JSON Schema of problem files and exit.",
)
@offline_options
def solve(settings: Settings, file: Path, time_limit_s: float, tolerance: float) -> None:
    """Plan the problem FILE (split-problem/1, .json or .json.gz) offline, no broker needed."""
    from edgesplit.planning.problem_file import load_problem  # noqa: PLC0415 - the planner's imports take their time
    from edgesplit_controller.cli.solution_document import solution_document  # noqa: PLC0415
    from edgesplit_controller.planner import solve as solve_problem  # noqa: PLC0415

    opened = time.perf_counter()
    problem = load_problem(file)
    load_s = time.perf_counter() - opened
    solution = solve_problem(problem, time_limit_s=time_limit_s, tolerance=tolerance)
    document = solution_document(problem, solution, load_s)
    if settings.json:
        print_json(document)
    else:
        from edgesplit_controller.cli.views.plan_view import show_solution  # noqa: PLC0415 - programs do without rich

        show_solution(problem, document)
    if solution.status == "infeasible":
        if not settings.json:
            note(f"no plan satisfies the constraints: {solution.reason}")
        click.get_current_context().exit(EXIT_INFEASIBLE)
