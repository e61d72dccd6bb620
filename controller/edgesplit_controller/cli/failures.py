"""Error reporting of commands: code, sentence, exit status.

Owns: the mapping of what was raised to a code, one sentence and an exit status. Its rule: nobody ever sees a
traceback unless EDGESPLIT_DEBUG=1 asks for it. Not here: what raises.
"""

from __future__ import annotations

import os
import sys
import traceback
from dataclasses import dataclass

import click

from edgesplit.errors import EdgesplitError
from edgesplit_controller.extras import missing_text

__all__ = ["EXIT_INTERRUPTED", "EXIT_WRONG_USE", "CommandFailure", "describe", "report"]

EXIT_WRONG_USE = 2
EXIT_INTERRUPTED = 130
"""128 + SIGINT, what a shell reports for a program that Ctrl-C ended."""


@dataclass(frozen=True)
class CommandFailure:
    """An error as splitctl tells it.

    Attributes:
        code: Stable name of the condition.
        message: One sentence.
        exit_code: Status of the process.
    """

    code: str
    message: str
    exit_code: int


def describe(error: BaseException) -> CommandFailure:
    """Name what was raised: an error of edgesplit, wrong use, an interrupt, or a defect."""
    while isinstance(error, BaseExceptionGroup):  # a task group wraps the one error that ended it
        error = error.exceptions[0]
    if isinstance(error, EdgesplitError):
        return CommandFailure(error.code, _one_line(str(error)) or error.code, _exit_code(error))
    if isinstance(error, click.ClickException):
        return CommandFailure("wrong-use", _usage_sentence(error), EXIT_WRONG_USE)
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        return CommandFailure("interrupted", "interrupted", EXIT_INTERRUPTED)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return CommandFailure("system-error", f"{where}{error.strerror or _one_line(str(error))}", 1)
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("edgesplit"):
        return CommandFailure("not-installed", missing_text("splitctl", error.name), 1)
    detail = _one_line(str(error))
    return CommandFailure(
        "internal-error",
        f"internal error ({type(error).__name__}{f': {detail}' if detail else ''}); "
        "run again with EDGESPLIT_DEBUG=1 for the details and report them",
        1,
    )


def report(error: BaseException, *, as_json: bool) -> int:
    """Say what went wrong, on standard output for programs and on standard error for people.

    Returns:
        The exit status.
    """
    if os.environ.get("EDGESPLIT_DEBUG") == "1":
        traceback.print_exception(error, file=sys.stderr)
    failure = describe(error)
    if as_json:
        from edgesplit_controller.cli.common import print_json  # noqa: PLC0415 - keeps wrong use and --help quick

        print_json({"error": {"code": failure.code, "message": failure.message}})
    else:
        click.echo(f"splitctl: {failure.message}", err=True)
    return failure.exit_code


def _exit_code(error: EdgesplitError) -> int:
    # An error rebuilt from a newer controller's reply carries its own exit status.
    code = getattr(error, "exit_code", 1)
    return code if isinstance(code, int) and code > 0 else 1


def _usage_sentence(error: click.ClickException) -> str:
    message = _one_line(error.format_message()).rstrip(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{message}; see '{context.command_path} --help'" if context is not None else message


def _one_line(text: str) -> str:
    return " ".join(text.split())
