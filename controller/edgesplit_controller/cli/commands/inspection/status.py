"""`splitctl status`: what serves, what is wrong, what to do.

Owns: this command. Its rule: it ends with 1 where anything is wrong, so that a script or a monitor needs nothing else. Not here: what
counts as wrong (the controller's), its page (`cli/views/inspection/status_view.py`).
"""

from __future__ import annotations

import click

from edgesplit.operations.inspection.status_operations import ShowStatus, StatusDocument
from edgesplit_controller.cli.ask import ask
from edgesplit_controller.cli.common import Settings, common_options, help_epilog, print_json

__all__ = ["status"]


@click.command(
    epilog=help_epilog(
        "splitctl status\nsplitctl status --json | jq -r '.problems[].what'",
        "{ok, problems: [{severity, what, do}], models: [{name, serving, epoch, requests_per_s, latency_p50_s, failed, source, "
        "on_fallback}], nodes: [{name, state, last_seen_s}], notes: [{what, do}]}; severity is error or warning, state is online, offline or "
        "refused.",
    )
)
@common_options
def status(settings: Settings) -> None:
    """Say what serves, what is wrong, and what to do about it.

    The exit status is 0 where nothing is wrong, else 1.
    """
    document = ask(settings, ShowStatus(), StatusDocument)
    if settings.json:
        print_json(document)
    else:
        from edgesplit_controller.cli.views.inspection.status_view import show_status  # noqa: PLC0415 - programs do without rich

        show_status(document)
    if not document.ok:
        click.get_current_context().exit(1)
