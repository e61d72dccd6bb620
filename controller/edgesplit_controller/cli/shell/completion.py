"""Shell completion of names: nodes and models, asked of the controller.

Owns: what stands behind TAB where a command takes a name. Its rule: whoever presses TAB waits for at most `ANSWER_S`, and gets
nothing, no message either, where the controller does not answer. Not here: commands and options (click), the scripts of shells
(`cli/commands/upkeep/completion.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import click
from click.shell_completion import CompletionItem

from edgesplit.operations.fleet_operations import ListNodes, NodeRow
from edgesplit.operations.model_operations import ListModels, ModelDocument
from edgesplit_controller.cli.ask import Conversation
from edgesplit_controller.cli.common import inherit_settings
from edgesplit_controller.cli.user.contexts import settings_before

__all__ = ["model_names", "node_names"]

ANSWER_S = 1.0


def node_names(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Nodes that registered."""
    return _answered(context, incomplete, _nodes)


def model_names(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Models that were added."""
    return _answered(context, incomplete, _models)


async def _nodes(conversation: Conversation) -> dict[str, str]:
    rows = await conversation.ask(ListNodes(), list[NodeRow])
    return {row.name: "online" if row.online else "offline" for row in rows}


async def _models(conversation: Conversation) -> dict[str, str]:
    rows = await conversation.ask(ListModels(), list[ModelDocument])
    return {row.name: "deployed" if row.deployed else "not deployed" for row in rows}


def _answered(
    context: click.Context, incomplete: str, names: Callable[[Conversation], Awaitable[dict[str, str]]]
) -> list[CompletionItem]:
    """The names that begin so, each with a word about it; none where they cannot be had in time, whatever the reason."""

    async def ask() -> dict[str, str]:
        context.obj = settings_before(context)
        settings = inherit_settings(context, context.params.get("broker"), as_json=False)
        async with asyncio.timeout(ANSWER_S), Conversation.of(settings, reach_s=ANSWER_S) as conversation:
            return await names(conversation)

    known: dict[str, str] = {}
    with contextlib.suppress(Exception):  # a shell that completes a word has no place to show an error
        known = asyncio.run(ask())
    return [CompletionItem(name, help=word) for name, word in known.items() if name.startswith(incomplete)]
