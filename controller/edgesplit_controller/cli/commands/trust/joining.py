"""`splitctl node`, `operator` and `certs`: who may join a secured fleet, who is trusted no more, what ends when.

Owns: these commands; tokens are drawn here, so that they pass over no broker. Its rule: what is printed is one line that can be run as it is on
the other machine. Not here: forgetting a machine (`fleet.py`), what a token turns into (`edgesplit.trust.enrolment`).
"""

from __future__ import annotations

import hashlib
import ssl
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import click
import msgspec

from edgesplit.errors import InvalidConfiguration
from edgesplit.formatting import day
from edgesplit.operations.trust_operations import (
    CertificateRow,
    GiveJoinToken,
    JoinOffer,
    ListCertificates,
    RevokeCertificates,
    RevokedDocument,
)
from edgesplit.trust.enrolment import JoiningKind, JoinToken, token_digest
from edgesplit.trust.files import TrustFiles
from edgesplit_controller.cli.ask import ask
from edgesplit_controller.cli.commands.fleet import node
from edgesplit_controller.cli.common import Settings, command_group, common_options, help_epilog, note, print_json
from edgesplit_controller.cli.shell.completion import node_names

__all__ = ["JoinLine", "certs", "node", "operator"]

_PROGRAMS: dict[JoiningKind, str] = {"node": "edgesplit-agent join", "operator": "splitctl login"}
_LINE_KEYS = "a list of {kind, name, command, token, url, expires_unix_s}; command is what to run on the other machine, once, within an hour."
_REVOKED_KEYS = "{role, name, serials: [SERIAL]}; the certificates that are trusted no more."
DAY_S = 86_400.0


class JoinLine(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody joins with, of `node add`, `node rotate`, `operator add` and `operator rotate`.

    Attributes:
        kind: What it becomes: `node` or `operator`.
        name: Under which name.
        command: What to run on the other machine, once.
        token: That is in it: a secret.
        url: Base URL of the controller's HTTPS.
        expires_unix_s: When the token ends. [s since the epoch]
    """

    kind: Literal["node", "operator"]
    name: str
    command: str
    token: str
    url: str
    expires_unix_s: float


def _lines(
    settings: Settings, kind: JoiningKind, names: Sequence[str], *, replaces: bool = False, again: bool = False
) -> None:
    """Have a token taken for each name, and print what to run with it."""
    authority = _authority_of(settings)
    lines: list[JoinLine] = []
    for name in names:
        token = str(JoinToken.new(authority))
        asked = GiveJoinToken(kind=kind, name=name, digest=token_digest(token), replaces=replaces, again=again)
        offer = ask(settings, asked, JoinOffer)
        lines.append(
            JoinLine(
                kind=offer.kind,
                name=offer.name,
                command=f"{_PROGRAMS[kind]} {offer.url} --token {token}",
                token=token,
                url=offer.url,
                expires_unix_s=offer.expires_unix_s,
            )
        )
    if settings.json:
        print_json(lines)
        return
    for line in lines:
        click.echo(line.command)
    where = "on that machine" if kind == "node" else "as that user"
    note(f"run {'it' if len(lines) == 1 else 'each'} {where}, once, within an hour; whoever has it may join")


def _authority_of(settings: Settings) -> str:
    """SHA-256 of the fleet's authority, as this operator knows it.

    Raises:
        InvalidConfiguration: Nobody here knows one.
    """
    if not settings.identity:
        raise InvalidConfiguration(
            "a join token names the fleet's authority, which is not known here: log in first (splitctl ca init on the controller's "
            "machine, or splitctl login with the line of splitctl operator add)"
        )
    path = TrustFiles.of(Path(settings.identity)).authority
    try:
        first, end, _ = path.read_text().partition("-----END CERTIFICATE-----")
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(f"{first}{end}".strip())).hexdigest()
    except (OSError, ValueError) as error:
        raise InvalidConfiguration(f"{path} does not hold the authority's certificate in PEM form ({error})") from error


def _revoke(settings: Settings, role: JoiningKind, name: str) -> None:
    document = ask(settings, RevokeCertificates(role=role, name=name), RevokedDocument)
    if settings.json:
        print_json(document)
        return
    count = len(document.serials)
    click.echo(f"{document.role} {document.name} is trusted no more ({count} certificate{'' if count == 1 else 's'})")


def _again(function: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--again",
        is_flag=True,
        help="Though certificates of that name were revoked: another program is to have it.",
    )(function)


@node.command(
    epilog=help_epilog("splitctl node add camera till-1 till-2", _LINE_KEYS),
)
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@_again
@common_options
def add(settings: Settings, names: tuple[str, ...], again: bool) -> None:
    """Let machines join the fleet under these names, with one line to run on each."""
    _lines(settings, "node", names, again=again)


@node.command(
    epilog=help_epilog("splitctl node rotate camera", _LINE_KEYS),
)
@click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=node_names)
@common_options
def rotate(settings: Settings, names: tuple[str, ...]) -> None:
    """Let nodes join anew, with a new key; their present certificates end when they do.

    Certificates renew themselves, and need no rotation; this is for a key that should be another one.
    """
    _lines(settings, "node", names, replaces=True)


@node.command(
    epilog=help_epilog("splitctl node revoke camera", _REVOKED_KEYS),
)
@click.argument("name", shell_complete=node_names)
@common_options
def revoke(settings: Settings, name: str) -> None:
    """Trust the node NAME no more: nodes, broker and controller end its connections and take no others.

    What the fleet knows of it stays, and what is deployed from it waits for it: see splitctl node remove.
    """
    _revoke(settings, "node", name)


@command_group(epilog=help_epilog("splitctl operator add ann", "see the help of each command."))
def operator() -> None:
    """Let people join a secured fleet as operators, and revoke them."""


@operator.command(
    "add",
    epilog=help_epilog("splitctl operator add ann", _LINE_KEYS),
)
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@_again
@common_options
def operator_add(settings: Settings, names: tuple[str, ...], again: bool) -> None:
    """Let people become operators under these names, with one line to run for each.

    Operators may do everything that splitctl does.
    """
    _lines(settings, "operator", names, again=again)


@operator.command(
    "rotate",
    epilog=help_epilog("splitctl operator rotate ann", _LINE_KEYS),
)
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@common_options
def operator_rotate(settings: Settings, names: tuple[str, ...]) -> None:
    """Let operators log in anew, with a new key; their present certificates end when they do."""
    _lines(settings, "operator", names, replaces=True)


@operator.command(
    "revoke",
    epilog=help_epilog("splitctl operator revoke ann", _REVOKED_KEYS),
)
@click.argument("name")
@common_options
def operator_revoke(settings: Settings, name: str) -> None:
    """Trust the operator NAME no more."""
    _revoke(settings, "operator", name)


@click.command(
    epilog=help_epilog(
        "splitctl certs",
        "a list of {role, name, serial, issued_unix_s, expires_unix_s, revoked_unix_s, addresses}; the next to end first.",
    ),
)
@common_options
def certs(settings: Settings) -> None:
    """List the certificates of the fleet's authority, and when they end.

    Those of the controller, nodes and operators renew themselves at two thirds of their 30 days; the broker's is written anew by
    splitctl broker config.
    """
    rows = ask(settings, ListCertificates(), list[CertificateRow])
    if settings.json:
        print_json(rows)
        return
    from edgesplit_controller.cli.views.layout import console, plain_table  # noqa: PLC0415 - programs do without rich

    table = plain_table("", ("role", "name", "state", "ends"), ("days left",), ("days left",))
    table.add_column("serial")
    now_s = time.time()
    for row in rows:
        state = "revoked" if row.revoked_unix_s is not None else "trusted"
        left = f"{(row.expires_unix_s - now_s) / DAY_S:.0f}"
        table.add_row(row.role, row.name, state, day(row.expires_unix_s), left, row.serial)
    console().print(table if rows else "the authority has issued no certificate that has not ended")
