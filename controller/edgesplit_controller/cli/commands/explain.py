"""`splitctl explain`: why the active plan is as it is.

Owns: this command. Its rule: it changes nothing. Not here: the explanation (the planner's), its page
(`cli/views/study_view.py`).
"""

from __future__ import annotations

import click

from edgesplit.operations.study_operations import ExplainDocument, ExplainPlan
from edgesplit_controller.cli.ask import SILENCE_S, ask
from edgesplit_controller.cli.common import Settings, common_options, help_epilog, positive_seconds, print_json
from edgesplit_controller.cli.shell.completion import model_names

__all__ = ["explain"]


@click.command(
    epilog=help_epilog(
        "splitctl explain yolo\nsplitctl explain yolo --time-limit 60 --json",
        "{model, epoch, cuts: [{tensor, from, to, bytes, transfer_s, latency_change_s, energy_change_j, score_change, "
        "text}], binding: [{constraint, subject, limit, value, slack, text}], relaxations: [{constraint, subject, "
        "change, latency_s, energy_j, score_gain, proven, text}], complete, "
        "concession: null or {tolerance, share, components, components_of_best, cut_bytes, cut_bytes_of_best, "
        "latency_of_best_s, energy_of_best_j, text}}; the changes of a cut are those of the best "
        "plan without it, complete says whether time sufficed for everything there was to try.",
    )
)
@click.argument("name", shell_complete=model_names)
@click.option(
    "--time-limit",
    "time_limit_s",
    metavar="S",
    type=positive_seconds,
    default=10.0,
    show_default=True,
    help="For all the plans it is compared with. [s]",
)
@common_options
def explain(settings: Settings, name: str, time_limit_s: float) -> None:
    """Explain the active plan of the model NAME.

    For each cut why it is there, which constraints bind, and what relaxing them would bring.
    """
    operation = ExplainPlan(name=name, time_limit_s=time_limit_s)
    document = ask(settings, operation, ExplainDocument, show=True, silence_s=max(SILENCE_S, time_limit_s + 30.0))
    if settings.json:
        print_json(document)
        return
    from edgesplit_controller.cli.views.study_view import show_explanation  # noqa: PLC0415 - programs do without rich

    show_explanation(document)
