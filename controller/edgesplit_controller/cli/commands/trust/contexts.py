"""`splitctl login` and `context`: become an operator of a fleet, and choose among fleets.

Owns: these commands. Its rule: nothing is written before the fleet has proved to be whom the token names. Not here: the files
(`cli/user/contexts.py`), the exchange (`cli/user/enrolling.py`).
"""

from __future__ import annotations

import click
import msgspec

from edgesplit.errors import InvalidConfiguration
from edgesplit.formatting import day
from edgesplit.trust.credentials import authority_digest
from edgesplit.trust.enrolment import JoinToken
from edgesplit_controller.cli.common import Settings, command_group, help_epilog, offline_options, print_json
from edgesplit_controller.cli.user.contexts import Context, UserFolder
from edgesplit_controller.cli.user.enrolling import log_in

__all__ = ["ContextRow", "LoginDocument", "context_group", "login"]


class LoginDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`splitctl login`.

    Attributes:
        context: Name of the context that was made, the current one from now on.
        name: Of the operator, as in the certificate.
        broker: URL of the fleet's broker.
        identity: Folder of the operator's authority.pem, certificate.pem and key.pem.
        authority: SHA-256 of the authority's certificate, in hexadecimal.
        expires_unix_s: When the certificate ends, unless a command renews it before. [s since the epoch]
    """

    context: str
    name: str
    broker: str
    identity: str
    authority: str
    expires_unix_s: float


class ContextRow(msgspec.Struct, frozen=True, kw_only=True):
    """A fleet that this user may speak to, in `splitctl context list` and `context use`.

    Attributes:
        name: Of the context.
        broker: URL of its broker.
        identity: Folder of the operator's identity.
        current: Whether commands speak to it unless told otherwise.
    """

    name: str
    broker: str
    identity: str
    current: bool


@click.command(
    epilog=help_epilog(
        "splitctl login https://10.9.0.1:7480 --token esj_...",
        "{context, name, broker, identity, authority, expires_unix_s}; identity is the folder of this operator's files.",
    ),
)
@click.argument("url")
@click.option("--token", required=True, help="As splitctl operator add prints it.")
@click.option("--name", metavar="CONTEXT", default="", help="What the context is called. Default: the fleet's name.")
@offline_options
def login(settings: Settings, url: str, token: str, name: str) -> None:
    """Become an operator of the fleet whose controller is at URL, with a token that holds once."""
    user = UserFolder.own()
    held = user.load().contexts
    if name:
        _check_free(held, user, name, token)
    new = log_in(url, token)
    name = name or new.fleet or "fleet"
    files = user.identity(name)
    credentials = new.write(files)
    context = user.add(name, new.answer.broker)
    document = LoginDocument(
        context=name,
        name=credentials.subject.name,
        broker=context.broker,
        identity=context.identity,
        authority=authority_digest(credentials.authorities[0]),
        expires_unix_s=credentials.facts.expires_s,
    )
    if settings.json:
        print_json(document)
        return
    click.echo(
        f"logged in as {credentials.subject} (context {name}, broker {context.broker}); "
        f"the certificate ends {day(document.expires_unix_s)} unless a command renews it before"
    )


def _check_free(held: dict[str, Context], user: UserFolder, name: str, token: str) -> None:
    """Refuse to put a fleet in another one's place before the token is used up."""
    wanted = JoinToken.parse(token).authority
    files = user.identity(name)
    if name in held and files.complete:
        from edgesplit.trust.credentials import Credentials  # noqa: PLC0415 - seldom needed

        if authority_digest(Credentials.load(files).authorities[0]) != wanted:
            raise InvalidConfiguration(f"context {name} is of another fleet: give this one another --name")


@command_group(
    "context", epilog=help_epilog("splitctl context use shop", "see the help of each command."), offline=True
)
def context_group() -> None:
    """Choose among the fleets that this user may speak to."""


@context_group.command(
    "list",
    epilog=help_epilog("splitctl context list", "a list of {name, broker, identity, current}."),
)
@offline_options
def context_list(settings: Settings) -> None:
    """List them."""
    contexts = UserFolder.own().load()
    rows = [_row(name, found, contexts.current) for name, found in contexts.contexts.items()]
    if settings.json:
        print_json(rows)
        return
    for row in rows:
        click.echo(f"{'*' if row.current else ' '} {row.name}  {row.broker}  {row.identity}")
    if not rows:
        click.echo("there is no context: splitctl login makes one")


@context_group.command(
    epilog=help_epilog("splitctl context use shop", "{name, broker, identity, current}; of the one that holds now."),
)
@click.argument("name")
@offline_options
def use(settings: Settings, name: str) -> None:
    """Have commands speak to the fleet of the context NAME from now on."""
    user = UserFolder.own()
    contexts = user.load()
    row = _row(name, contexts.named(name), name)
    user.save(msgspec.structs.replace(contexts, current=name))
    if settings.json:
        print_json(row)
        return
    click.echo(f"commands speak to {row.name} at {row.broker} from now on")


def _row(name: str, found: Context, current: str) -> ContextRow:
    return ContextRow(name=name, broker=found.broker, identity=found.identity, current=name == current)
