"""`splitctl nodes` and `splitctl links`: what the fleet reports.

Owns: these two commands. Its rule: figures are the controller's, unchanged. Not here: tables' looks (`tables.py`).
"""

from __future__ import annotations

import click

from edgesplit.operations.fleet_operations import LinkRow, ListLinks, ListNodes, NodeRow
from edgesplit_controller.cli.ask import ask
from edgesplit_controller.cli.common import Settings, common_options, help_epilog, print_json

__all__ = ["links", "nodes"]


@click.command(
    epilog=help_epilog(
        "splitctl nodes\nsplitctl nodes --json",
        "a list of {name, online, advertise, cpu_percent, memory_available_bytes, compute_w, transmit_w, "
        "power_origin, version, runtime, emulated, refused, speeds: {MODEL: {whole_s, profiled_s, factor, int8_factor, "
        "origin, age_s}}, providers, power_sensor, power_problem, failing: [{what, reason, attempts, failing_s, "
        "next_try_s}], clock_offset_s, warnings, last_seen_s}; a figure is null until the node reported it and while it is "
        "offline; power_origin is measured, modelled or configured; speeds are execution profiles and what live timings correct them by.",
    )
)
@common_options
def nodes(settings: Settings) -> None:
    """List the machines and what they report."""
    rows = ask(settings, ListNodes(), list[NodeRow])
    if settings.json:
        print_json(rows)
        return
    from edgesplit_controller.cli.views.tables import show_nodes  # noqa: PLC0415 - programs do without rich

    show_nodes(rows)


@click.command(
    epilog=help_epilog(
        "splitctl links\nsplitctl links --json",
        "a list of {from, to, bandwidth_bytes_per_s, latency_s, age_s, origin, up, reason}; latency is one way, age is that "
        "of the last sample.",
    )
)
@common_options
def links(settings: Settings) -> None:
    """List the measured network paths between them."""
    rows = ask(settings, ListLinks(), list[LinkRow])
    if settings.json:
        print_json(rows)
        return
    from edgesplit_controller.cli.views.tables import show_links  # noqa: PLC0415 - programs do without rich

    show_links(rows)
