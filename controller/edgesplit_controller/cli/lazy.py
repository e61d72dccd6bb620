"""A click group that imports a command's module only when that command runs.

Owns: the table of commands with their one-line summaries. Its rule: `--help` imports no command. Not here: what
commands do.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click
from click.shell_completion import CompletionItem

__all__ = ["LazyCommand", "LazyGroup"]


@dataclass(frozen=True)
class LazyCommand:
    """Where a command is defined, and how the group's help describes it.

    Attributes:
        module: Absolute module name.
        attribute: Name of the click command in it.
        summary: One line without a full stop.
    """

    module: str
    attribute: str
    summary: str


class LazyGroup(click.Group):
    """A group whose commands are named, not imported.

    Args:
        commands_by_name: Command to where it is, in the order of help.
    """

    def __init__(self, *arguments: Any, commands_by_name: Mapping[str, LazyCommand], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.commands_by_name = dict(commands_by_name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order they were given: the order in which people meet them."""
        return list(self.commands_by_name)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command, or None where there is none of that name."""
        lazy = self.commands_by_name.get(cmd_name)
        if lazy is None:
            return None
        command: click.Command = getattr(importlib.import_module(lazy.module), lazy.attribute)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return commands that begin so, without importing them, and options."""
        found = [
            CompletionItem(name, help=lazy.summary)
            for name, lazy in self.commands_by_name.items()
            if name.startswith(incomplete)
        ]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the summaries without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, lazy.summary) for name, lazy in self.commands_by_name.items()])
