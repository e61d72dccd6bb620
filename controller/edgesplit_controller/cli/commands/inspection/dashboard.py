"""`splitctl dashboard`: opens the controller's page in a browser.

Owns: this command. Its rule: the address is always printed, so that it works without a browser here; where browsers of this machine do
not reach it, it says how they do. Not here: the page (the controller's), who may see it (`edgesplit_controller.dashboard`).
"""

from __future__ import annotations

import socket
import webbrowser

import click

from edgesplit.mqtt.broker_address import BrokerAddress
from edgesplit.operations.inspection.dashboard_operation import DashboardDocument, OpenDashboard
from edgesplit.wire.address import is_loopback
from edgesplit_controller.cli.ask import ask
from edgesplit_controller.cli.common import Settings, common_options, help_epilog, note, print_json

__all__ = ["dashboard", "tunnel"]


@click.command(
    epilog=help_epilog(
        "splitctl dashboard\nsplitctl dashboard --no-open",
        "{url, ticket, expires_unix_s, local, machine}; in a secured fleet the ticket opens one session within a minute, at "
        "url/#ticket=TICKET; local says that only browsers of that machine reach it.",
    )
)
@click.option("--no-open", is_flag=True, help="Print the address only.")
@common_options
def dashboard(settings: Settings, no_open: bool) -> None:
    """Open the fleet's dashboard in a browser: what runs where, why, and what happens now."""
    document = ask(settings, OpenDashboard(), DashboardDocument)
    if settings.json:
        print_json(document)
        return
    page = f"{document.url}/#ticket={document.ticket}" if document.ticket else f"{document.url}/"
    click.echo(page)
    if document.ticket:
        note("the address signs in once, within a minute: run splitctl dashboard again for another")
    if document.local and document.machine != socket.gethostname():
        note(tunnel(document, BrokerAddress.parse(settings.broker).host))
    elif not no_open and not webbrowser.open(page):
        note("no browser was found here: open the address in one on this machine")


def tunnel(document: DashboardDocument, broker: str) -> str:
    """How a browser of this machine reaches a dashboard that listens on its own machine alone.

    Args:
        document: Of the dashboard.
        broker: Host of the broker: the controller's machine too, in most fleets; loopback says nothing.
    """
    address = document.url.rpartition("//")[2]
    port = address.rpartition(":")[2]
    machine = document.machine if is_loopback(broker) else broker
    return (
        f"the dashboard listens on {document.machine} alone: keep ssh -N -L {port}:{address} {machine} running in "
        "another terminal, then run splitctl dashboard again and open the address it prints (docs/dashboard.md)"
    )
