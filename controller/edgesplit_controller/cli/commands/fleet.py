"""`splitctl nodes`, `links` and `node remove`: what the fleet reports, and forgetting a machine of it.

Owns: these commands. Its rule: figures are the controller's, unchanged; it decides whether a machine may be forgotten. Not
here: tables' looks (`cli/views/tables.py`), where operators may run (`placement.py`).
"""

from __future__ import annotations

import click

from edgesplit.operations.fleet_operations import (
    LinkRow,
    ListLinks,
    ListNodes,
    NodeRemovedDocument,
    NodeRow,
    RemoveNode,
)
from edgesplit_controller.cli.ask import ask
from edgesplit_controller.cli.common import (
    Settings,
    command_group,
    common_options,
    help_epilog,
    print_json,
    table_options,
)
from edgesplit_controller.cli.shell.completion import node_names

__all__ = ["links", "node", "nodes"]


@click.command(
    epilog=help_epilog(
        "splitctl nodes\nsplitctl nodes --output wide",
        "a list of {name, online, advertise, cpu_percent, memory_available_bytes, compute_w, transmit_w, "
        "power_origin, version, runtime, emulated, refused, speeds: {MODEL: {whole_s, profiled_s, factor, int8_factor, "
        "origin, age_s}}, providers, power_sensor, power_problem, failing: [{what, reason, attempts, failing_s, "
        "next_try_s}], clock_offset_s, warnings, last_seen_s, insecure, drained_unix_s, labels, steadiness: {seconds_spread, minutes_spread, rested_spread, "
        "rested_ratio, regime, stolen, throttled, waited, frequency_hz, samples, cost_share}}; a figure is null until the node reported it and while it is "
        "offline; power_origin is measured, modelled or configured; speeds are execution profiles and what live timings correct them by.",
    )
)
@table_options
def nodes(settings: Settings, wide: bool) -> None:
    """List the machines and what they report."""
    rows = ask(settings, ListNodes(), list[NodeRow])
    if settings.json:
        print_json(rows)
        return
    from edgesplit_controller.cli.views.tables import show_nodes  # noqa: PLC0415 - programs do without rich

    show_nodes(rows, wide=wide)


@click.command(
    epilog=help_epilog(
        "splitctl links\nsplitctl links --json",
        "a list of {from, to, bandwidth_bytes_per_s, latency_s, age_s, origin, up, reason, error, latency_error_s}; "
        "latency is one way, age is that of the last sample, error is the relative standard error of the bandwidth.",
    )
)
@table_options
def links(settings: Settings, wide: bool) -> None:
    """List the network paths between them, measured or to be: those that plans may use."""
    rows = ask(settings, ListLinks(), list[LinkRow])
    if settings.json:
        print_json(rows)
        return
    from edgesplit_controller.cli.views.tables import show_links  # noqa: PLC0415 - programs do without rich

    show_links(rows, wide=wide)


@command_group(epilog=help_epilog("splitctl node remove edge-7", "see the help of each command."))
def node() -> None:
    """Forget a machine that is gone for good."""


@node.command(
    epilog=help_epilog(
        "splitctl node remove edge-7",
        "{name, topics: [TOPIC], named_by: [MODEL]}; topics are the retained messages that were removed from the broker, "
        "named_by lists models whose pins or forbidden nodes still name it.",
    )
)
@click.argument("name", shell_complete=node_names)
@common_options
def remove(settings: Settings, name: str) -> None:
    """Forget the node NAME and all that the broker keeps of it.

    Refused while its agent is connected, for it would come right back, and while a model is deployed from it.
    """
    document = ask(settings, RemoveNode(name=name), NodeRemovedDocument, show=True)
    if settings.json:
        print_json(document)
        return
    click.echo(f"{document.name} is removed; {len(document.topics)} messages of it were kept by the broker")
    for model in document.named_by:
        click.echo(f"pins or forbidden nodes of {model} still name it: see splitctl unpin and splitctl allow")
