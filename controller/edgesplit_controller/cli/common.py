"""What every command shares: the broker, `--json`, help pages and printing.

Owns: `Settings`, the options that all commands take, and standard output. Its rule: with `--json` exactly one
document goes to standard output; notes go to standard error. Not here: errors (`failures.py`), asking (`ask.py`).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Concatenate, ParamSpec

import click

__all__ = [
    "DEFAULT_BROKER",
    "Settings",
    "command_group",
    "common_options",
    "help_epilog",
    "inherit_settings",
    "note",
    "offline_options",
    "positive_seconds",
    "print_json",
    "table_options",
    "warn",
]

P = ParamSpec("P")
DEFAULT_BROKER = "mqtt://127.0.0.1:1883"
_BROKER_HELP = "MQTT broker; also before the command."
_JSON_HELP = "Print one JSON document for programs."


@dataclass(frozen=True)
class Settings:
    """What the command line said about every command.

    Attributes:
        broker: URL of the MQTT broker.
        json: Whether programs read the output.
        ca_file, cert_file, key_file, server_name: TLS towards the broker, as in a daemon's `[broker]`.
        identity: Folder of this operator's authority.pem, certificate.pem and key.pem; empty: nothing is signed.
        context: Name of the context that broker and identity are from; empty: they were given.
    """

    broker: str = DEFAULT_BROKER
    json: bool = False
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    server_name: str = ""
    identity: str = ""
    context: str = ""


def positive_seconds(text: str | float) -> float:
    """Read an option's seconds, above 0 and finite. [s]

    Raises:
        click.BadParameter: It is something else.
    """
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds) or seconds <= 0:
        raise click.BadParameter(f"{text!r} must be a number of seconds above 0")
    return seconds


def common_options(function: Callable[Concatenate[Settings, P], None]) -> Callable[..., None]:
    """Add `--broker` and `--json` to a command and hand it the effective `Settings` first."""
    return click.option("--broker", metavar="URL", help=_BROKER_HELP)(offline_options(function))


def offline_options(function: Callable[Concatenate[Settings, P], None]) -> Callable[..., None]:
    """Add `--json` to a command that needs no broker and hand it the effective `Settings` first."""

    @click.option("--json", "as_json", is_flag=True, help=_JSON_HELP)
    @click.pass_context
    @functools.wraps(function)
    def with_settings(context: click.Context, /, *arguments: Any, **options: Any) -> None:
        settings = inherit_settings(context, options.pop("broker", None), options.pop("as_json"))
        function(settings, *arguments, **options)

    return with_settings


def table_options(function: Callable[Concatenate[Settings, bool, P], None]) -> Callable[..., None]:
    """As `common_options`, for a command that prints tables: adds `--output`, and hands whether every column is wanted second."""

    @click.option(
        "--output",
        type=click.Choice(["table", "wide", "json"]),
        default="table",
        show_default=True,
        help="What fits the terminal, every column however long the lines get, or the JSON document.",
    )
    @functools.wraps(function)
    def with_output(settings: Settings, /, *arguments: Any, output: str, **options: Any) -> None:
        function(replace(settings, json=settings.json or output == "json"), output == "wide", *arguments, **options)

    return common_options(with_output)


def command_group(
    name: str | None = None, *, epilog: str, offline: bool = False
) -> Callable[[Callable[[], None]], click.Group]:
    """Make a group of commands, which inherit `--broker` and `--json` that stand before them.

    Args:
        name: Of the group; the function's by default.
        epilog: From `help_epilog`.
        offline: No command of it needs a broker.
    """

    def grouped(function: Callable[[], None]) -> click.Group:
        @click.pass_context
        @functools.wraps(function)
        def inheriting(context: click.Context, /, as_json: bool, broker: str | None = None) -> None:
            function()
            context.obj = inherit_settings(context, broker, as_json)

        with_json = click.option("--json", "as_json", is_flag=True, help=_JSON_HELP)(inheriting)
        with_all = with_json if offline else click.option("--broker", metavar="URL", help=_BROKER_HELP)(with_json)
        return click.group(name, no_args_is_help=False, epilog=epilog)(with_all)

    return grouped


def inherit_settings(context: click.Context, broker: str | None, as_json: bool) -> Settings:
    """What was said before the command, overridden by what was said after it."""
    inherited = context.obj if isinstance(context.obj, Settings) else Settings()
    if broker and inherited.context:  # another broker's fleet does not know who this user is in the context's
        inherited = replace(inherited, identity="", context="")
    return replace(inherited, broker=broker or inherited.broker, json=as_json or inherited.json)


def help_epilog(example: str, keys: str) -> str:
    """The end of a command's help page.

    Args:
        example: Command lines, one a line.
        keys: What the `--json` document holds; wrapped by click.
    """
    lines = "\n".join(f"  $ {line}" for line in example.strip().splitlines())
    return f"\b\nExample:\n{lines}\n\nWith --json: {keys}"


def print_json(document: object, *, indent: bool = True) -> None:
    """Print one document on standard output; `indent` False keeps it on one line."""
    import msgspec  # noqa: PLC0415 - `splitctl --help` does without

    encoded = msgspec.json.encode(document)
    click.echo((msgspec.json.format(encoded, indent=2) if indent else encoded).decode())


def note(sentence: str) -> None:
    """Say something on standard error."""
    click.echo(f"splitctl: {sentence}", err=True)


def warn(sentence: str) -> None:
    """Warn on standard error."""
    note(f"warning: {sentence}")
