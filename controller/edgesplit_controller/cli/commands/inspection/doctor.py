"""`splitctl doctor`: everything that can be looked at, each with what to do.

Owns: this command, and the checks of splitctl's own side. Its rule: it changes nothing; what stands between this machine and the controller
is the error that every command tells. Not here: the controller's checks and the nodes', its page
(`cli/views/inspection/doctor_view.py`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from edgesplit.formatting import day, time_span
from edgesplit.operations.inspection.doctor_operation import CheckRow, Diagnose, DiagnosisDocument, Verdict
from edgesplit.operations.inspection.status_operations import ActivityDocument, ShowActivity
from edgesplit.release import installed_version
from edgesplit.trust.credentials import Credentials
from edgesplit.trust.files import TrustFiles
from edgesplit_controller.cli.ask import Conversation
from edgesplit_controller.cli.common import Settings, common_options, help_epilog, print_json

__all__ = ["doctor"]

CLOCKS_S = 1.0
"""Clocks that surely differ by more are told. [s]"""
SOON_S = 3 * 86_400.0
"""A certificate that ends within this is told. [s]"""


@click.command(
    epilog=help_epilog(
        "splitctl doctor\nsplitctl doctor edge-7 --all",
        "{ok, checks: [{check, subject, verdict, what, do}], at_unix_s, version}; verdict is ok, note, unknown, warning or error; check is "
        "broker, rights, clock, port, artifacts, version, certificate, sensor, disk, links, refused, runtime or set-up.",
    )
)
@click.argument("node", required=False, default="")
@click.option("--all", "show_all", is_flag=True, help="Show what is well, too, instead of counting it.")
@common_options
def doctor(settings: Settings, node: str, show_all: bool) -> None:
    """Look into everything, or into what concerns NODE: each finding with what to do.

    Broker and rights, clocks, ports both ways, releases, certificates, sensors, disks, links, set-up. The exit status is 1 where
    anything is wrong.
    """
    document = asyncio.run(_diagnose(settings, node))
    if settings.json:
        print_json(document)
    else:
        from edgesplit_controller.cli.views.inspection.doctor_view import show_diagnosis  # noqa: PLC0415 - programs do without rich

        show_diagnosis(document, show_all=show_all)
    if not document.ok:
        click.get_current_context().exit(1)


async def _diagnose(settings: Settings, node: str) -> DiagnosisDocument:
    began_s = time.monotonic()
    async with Conversation.of(settings) as conversation:
        reached_s = time.monotonic() - began_s
        asked_unix_s = time.time()
        said = await conversation.ask(ShowActivity(), ActivityDocument)
        answered_unix_s = time.time()
        found = await conversation.ask(Diagnose(node=node), DiagnosisDocument)
    ahead_s = said.at_unix_s - (asked_unix_s + answered_unix_s) / 2
    own = [
        _check(
            "broker", "ok", f"splitctl reached broker and controller at {settings.broker} in {time_span(reached_s)}"
        ),
        _clock(ahead_s, (answered_unix_s - asked_unix_s) / 2),
        _release(found.version),
        *_certificate(settings.identity),
    ]
    ok = found.ok and not any(row.verdict in {"warning", "error"} for row in own)
    return msgspec.structs.replace(found, ok=ok, checks=(*own, *found.checks))


def _clock(ahead_s: float, uncertain_s: float) -> CheckRow:
    side = "ahead of" if ahead_s > 0 else "behind"
    what = f"the controller's clock is {time_span(abs(ahead_s))} {side} this machine's (± {time_span(uncertain_s)})"
    if abs(ahead_s) - uncertain_s <= CLOCKS_S:
        return _check("clock", "ok", what)
    return _check("clock", "warning", what, "let both take their time from the network (NTP)")


def _release(controller: str) -> CheckRow:
    own = installed_version()
    if own == controller:
        return _check("version", "ok", f"splitctl and the controller are both of edgesplit {own}")
    what = f"splitctl is of edgesplit {own}, the controller of {controller}: both speak the same protocol"
    return _check("version", "note", what, "nothing, or install the same release")


def _certificate(identity: str) -> Iterator[CheckRow]:
    """Of this operator, in a fleet with an authority."""
    if not identity:
        return
    expires_s = Credentials.load(TrustFiles.of(Path(identity))).facts.expires_s
    left_s = expires_s - time.time()
    what = f"this operator's certificate holds until {day(expires_s)}"
    if left_s > SOON_S:
        yield _check("certificate", "ok", what)
    else:
        yield _check(
            "certificate", "warning", what, "splitctl renews it by itself when it reaches the controller's HTTPS"
        )


def _check(check: str, verdict: Verdict, what: str, do: str = "") -> CheckRow:
    return CheckRow(check=check, subject="splitctl", verdict=verdict, what=what, do=do)
