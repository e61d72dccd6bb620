"""`splitctl top`: what goes on now, again and again.

Owns: this command. Its rule: Ctrl-C is how it ends, and no error; where nobody watches (a pipe, a file) it prints once. Not here: figures
(the controller's), the page (`cli/views/inspection/top_view.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

import click

from edgesplit.operations.inspection.status_operations import ActivityDocument, ShowActivity
from edgesplit_controller.cli.ask import Conversation, ask
from edgesplit_controller.cli.commands.events import stop_on_signals
from edgesplit_controller.cli.common import Settings, common_options, help_epilog, positive_seconds, print_json

__all__ = ["top"]


@click.command(
    epilog=help_epilog(
        "splitctl top\nsplitctl top --interval 0.5\nsplitctl top --once",
        "{at_unix_s, models: [{name, source, epoch, requests_per_s, latency_p50_s, latency_p95_s, latency_p99_s, predicted_latency_s, "
        "energy_j, predicted_energy_j, energy_origin, failed, nodes}], nodes: [{name, state, cpu_percent, memory_available_bytes, "
        "drawn_w, serving_w, battery_fraction, models}], links: [{from, to, bandwidth_bytes_per_s, latency_s, age_s, origin, up, "
        "reason, error, latency_error_s}], other_links}, once; links are those that plans use, and those that are down.",
    )
)
@click.option("--once", is_flag=True, help="Print once and end.")
@click.option(
    "--interval",
    "interval_s",
    metavar="S",
    type=positive_seconds,
    default=2.0,
    show_default=True,
    help="Between two looks. [s]",
)
@common_options
def top(settings: Settings, once: bool, interval_s: float) -> None:
    """Show models, nodes and links as they are now: rates, latencies, energy.

    Until Ctrl-C; where standard output is no terminal, once.
    """
    if settings.json:
        print_json(ask(settings, ShowActivity(), ActivityDocument))
        return
    from edgesplit_controller.cli.views.inspection.top_view import show_activity  # noqa: PLC0415 - programs do without rich

    if once or not sys.stdout.isatty():
        show_activity(ask(settings, ShowActivity(), ActivityDocument))
        return
    # Ctrl-C is how it ends; the loop sees it as an order, and here only if it comes before the loop runs.
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_watch(settings, interval_s))


async def _watch(settings: Settings, interval_s: float) -> None:
    from edgesplit_controller.cli.views.inspection.top_view import live_activity  # noqa: PLC0415 - programs do without rich

    with stop_on_signals() as stopped:
        async with Conversation.of(settings) as conversation:
            first = await conversation.ask(ShowActivity(), ActivityDocument)
            with live_activity(first) as show:
                while not stopped.is_set():
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(interval_s):
                            await stopped.wait()
                    if not stopped.is_set():
                        show(await conversation.ask(ShowActivity(), ActivityDocument))
