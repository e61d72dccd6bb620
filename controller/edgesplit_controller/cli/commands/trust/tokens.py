"""`splitctl token`: let programs that have no certificate send requests.

Owns: these commands; tokens are drawn here, so that they pass over no broker. Its rule: a token is shown once. Not here: what it allows
(nodes: `control/trust_messages.py`).
"""

from __future__ import annotations

import base64
import secrets

import click
import msgspec

from edgesplit.formatting import day
from edgesplit.operations.trust_operations import AddClientToken, ClientTokenRow, ListClientTokens, RemoveClientToken
from edgesplit.trust.enrolment import token_digest
from edgesplit_controller.cli.ask import ask
from edgesplit_controller.cli.common import Settings, command_group, common_options, help_epilog, note, print_json
from edgesplit_controller.cli.quantities import age_s
from edgesplit_controller.cli.shell.completion import model_names

__all__ = ["NewTokenDocument", "token"]

_PREFIX = "est_"
_RANDOM_BYTES = 32


class NewTokenDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`splitctl token add`.

    Attributes:
        name: Whose it is.
        token: A secret, kept nowhere else.
        models: That it may ask; empty: all.
        expires_unix_s: When it ends. [s since the epoch]
        rate_hz: Requests a second at each node; None: as many as the node takes. [1/s]
    """

    name: str
    token: str
    models: tuple[str, ...]
    expires_unix_s: float
    rate_hz: float | None = None


@command_group(
    epilog=help_epilog("splitctl token add till --model yolo --expires 30d", "see the help of each command.")
)
def token() -> None:
    """Let programs send requests to a secured fleet, over HTTP or the client library."""


def _lifetime(_context: click.Context, _parameter: click.Parameter, text: str) -> float:
    seconds = age_s(text)
    if not seconds:
        raise click.BadParameter(f"{text!r} must be a number with a unit, such as 12h or 30d")
    return seconds


@token.command(
    epilog=help_epilog(
        "splitctl token add till --model yolo --expires 30d --rate 5",
        "{name, token, models: [MODEL], expires_unix_s, rate_hz}; the token is kept nowhere else.",
    ),
)
@click.argument("name")
@click.option(
    "--model",
    "models",
    metavar="MODEL",
    multiple=True,
    shell_complete=model_names,
    help="It may ask this one; may be repeated. Default: all.",
)
@click.option(
    "--expires",
    metavar="AGE",
    default="30d",
    show_default=True,
    callback=_lifetime,
    help="It ends after this: 12h, 30d.",
)
@click.option(
    "--rate", metavar="R", type=click.FloatRange(min=0, min_open=True), help="Requests a second at each node."
)
@common_options
def add(settings: Settings, name: str, models: tuple[str, ...], expires: float, rate: float | None) -> None:
    """Make a token under the name NAME, and print it.

    Programs show it as `Authorization: Bearer TOKEN` over HTTP, or as edgesplit.connect(ADDRESS, token=TOKEN).
    """
    text = _PREFIX + base64.urlsafe_b64encode(secrets.token_bytes(_RANDOM_BYTES)).decode().rstrip("=")
    asked = AddClientToken(name=name, digest=token_digest(text), models=models, expires_in_s=expires, rate_hz=rate)
    row = ask(settings, asked, ClientTokenRow)
    if settings.json:
        print_json(
            NewTokenDocument(
                name=row.name, token=text, models=row.models, expires_unix_s=row.expires_unix_s, rate_hz=row.rate_hz
            )
        )
        return
    click.echo(text)
    note(f"it is shown this once, and ends {day(row.expires_unix_s)}")


@token.command(
    "list",
    epilog=help_epilog("splitctl token list", "a list of {name, models: [MODEL], expires_unix_s, rate_hz}."),
)
@common_options
def token_list(settings: Settings) -> None:
    """List the tokens that have not ended; what they are is known to their holders alone."""
    rows = ask(settings, ListClientTokens(), list[ClientTokenRow])
    if settings.json:
        print_json(rows)
        return
    from edgesplit_controller.cli.views.layout import console, plain_table  # noqa: PLC0415 - programs do without rich

    table = plain_table("", ("name", "models", "ends"), ("requests/s",))
    for row in rows:
        rate = "any" if row.rate_hz is None else f"{row.rate_hz:g}"
        table.add_row(row.name, ", ".join(row.models) or "all", day(row.expires_unix_s), rate)
    console().print(table if rows else "there is no token: see splitctl token add")


@token.command(
    epilog=help_epilog(
        "splitctl token remove till", "{name, models: [MODEL], expires_unix_s, rate_hz}; of what was removed."
    ),
)
@click.argument("name")
@common_options
def remove(settings: Settings, name: str) -> None:
    """Let the holder of the token NAME send no more requests."""
    row = ask(settings, RemoveClientToken(name=name), ClientTokenRow)
    if settings.json:
        print_json(row)
        return
    click.echo(f"the token {row.name} is worth nothing from now on")
