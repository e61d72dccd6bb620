"""`splitctl completion`: the script with which a shell completes splitctl's commands, options and names.

Owns: this command. Its rule: the script is click's own, for `_SPLITCTL_COMPLETE`. Not here: names of nodes and models
(`cli/shell/completion.py`).
"""

from __future__ import annotations

import click
import msgspec
from click.shell_completion import get_completion_class

from edgesplit.errors import InvalidInput
from edgesplit_controller.cli.common import Settings, help_epilog, offline_options, print_json

__all__ = ["CompletionScript", "completion"]

VARIABLE = "_SPLITCTL_COMPLETE"


class CompletionScript(msgspec.Struct, frozen=True, kw_only=True):
    """`splitctl completion SHELL`.

    Attributes:
        shell: For which shell it is.
        script: What that shell is to read.
    """

    shell: str
    script: str


@click.command(
    epilog=help_epilog(
        'eval "$(splitctl completion bash)"\n'
        "splitctl completion bash > ~/.local/share/bash-completion/completions/splitctl\n"
        "splitctl completion fish > ~/.config/fish/completions/splitctl.fish",
        "{shell, script}; what the shell is to read.",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@offline_options
def completion(settings: Settings, shell: str) -> None:
    """Print the script with which SHELL completes commands, options, and names of nodes and models.

    Names are asked of the controller, within a second; where none answers there are none.
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise InvalidInput(f"this click knows no completion for {shell}: install click 8.1 or later")
    program = click.get_current_context().find_root()
    document = CompletionScript(shell=shell, script=kind(program.command, {}, "splitctl", VARIABLE).source())
    if settings.json:
        print_json(document)
        return
    click.echo(document.script)
