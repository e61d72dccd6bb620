"""Man pages of splitctl, one for each command, from the same help that `--help` prints.

Owns: the form of a page, in man(7)'s macros. Its rule: nothing is said here that a command's help does not say, but what all
commands have in common. Not here: help (`cli/commands/`), where pages are installed (pyproject.toml, make man).

    python -m edgesplit_controller.cli.shell.manual man/man1
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from edgesplit.release import installed_version
from edgesplit_controller.cli.entry import splitctl
from edgesplit_controller.cli.lazy import LazyGroup

__all__ = ["main", "page", "pages"]

_STATUSES = (
    ("0", "done"),
    ("1", "anything not listed here"),
    ("2", "wrong use"),
    ("3", "no plan satisfies the constraints"),
    ("4", "the broker or the controller did not answer"),
    ("130", "ended by Ctrl-C"),
)
_JSON = "With --json:"


def pages() -> Iterator[tuple[str, str]]:
    """Name of the file, and the page, of splitctl and each of its commands."""
    root = click.Context(splitctl, info_name="splitctl", **splitctl.context_settings)
    for context in _contexts(root):
        yield f"{_title(context)}.1", page(context)


def page(context: click.Context) -> str:
    """The page of one command, in roff."""
    command, title = context.command, _title(context)
    summary, _, rest = (command.help or "").partition("\n\n")
    lines = [
        f'.TH {title.upper()} 1 "" "edgesplit {installed_version()}" "edgesplit"',
        ".SH NAME",
        f"{_plain(title)} \\- {_plain(_sentence(summary))}",
        ".SH SYNOPSIS",
        f".B {_plain(context.command_path)}",
        _plain(" ".join(command.collect_usage_pieces(context))),
        ".SH DESCRIPTION",
        *_paragraphs("\n\n".join(filter(None, (summary, rest)))),
        *_commands(context),
        *_options(context),
        *_epilog(command.epilog or ""),
        ".SH EXIT STATUS",
        *(line for status, meaning in _STATUSES for line in (".TP", f".B {status}", _plain(meaning))),
        *_see_also(context),
    ]
    return "\n".join(lines) + "\n"


def _contexts(context: click.Context) -> Iterator[click.Context]:
    """Of a command and of all below it."""
    yield context
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            found = context.command.get_command(context, name)
            if found is not None:
                yield from _contexts(click.Context(found, parent=context, info_name=name))


def _title(context: click.Context) -> str:
    return context.command_path.replace(" ", "-")


def _commands(context: click.Context) -> Iterator[str]:
    group = context.command
    if not isinstance(group, click.Group):
        return
    yield ".SH COMMANDS"
    for name in group.list_commands(context):
        if isinstance(group, LazyGroup):
            summary = group.commands_by_name[name].summary
        else:
            found = group.get_command(context, name)
            summary = found.get_short_help_str(200) if found is not None else ""
        yield from (".TP", f".BR {_title(context)}\\-{_plain(name)} (1)", _plain(summary))


def _options(context: click.Context) -> Iterator[str]:
    yield ".SH OPTIONS"
    for parameter in context.command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            yield from (".TP", f".B {_plain(record[0])}", _plain(record[1]))


def _epilog(text: str) -> Iterator[str]:
    """Example, and the JSON document, as `help_epilog` put them together; all else as paragraphs."""
    example, _, said = text.partition(_JSON)
    lines = [line for line in example.replace("\b", "").splitlines() if line.strip().startswith("$ ")]
    if lines:
        yield from (".SH EXAMPLE", ".nf", *(_plain(line.strip()) for line in lines), ".fi")
    if said:
        yield from (".SH JSON", *_paragraphs(f"With --json: {said.strip()}"))


def _see_also(context: click.Context) -> Iterator[str]:
    above = context.parent
    names: list[str] = []
    while above is not None:
        names.append(_title(above))
        above = above.parent
    if names:
        yield from (".SH SEE ALSO", ", ".join(f"{_plain(name)}(1)" for name in names))


def _sentence(text: str) -> str:
    return " ".join(text.split()).removesuffix(".")


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", text.replace("\b", "").strip()):
        yield from (".PP", _plain(" ".join(paragraph.split())))


def _plain(text: str) -> str:
    """Text as roff shows it as it is: signs that mean something there escaped."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("~", "\\(ti").replace("^", "\\(ha")
    return f"\\&{text}" if text.startswith((".", "'")) else text


def main() -> None:
    """Write all pages to the folder that is named; what was there of splitctl before goes."""
    if len(sys.argv) != 2:
        sys.exit("name one folder: python -m edgesplit_controller.cli.shell.manual man/man1")
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("splitctl*.1"):
        stale.unlink()
    for name, text in pages():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
