"""`splitctl events`: what happened and why.

Owns: this command, history and live stream without a gap between them. Its rule: an event is printed once. Not here:
what counts as an event (controller and agents).
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Generator

import click
import msgspec

from edgesplit.control.event_kinds import HISTORIES, LEVELS, EventSelection
from edgesplit.control.event_messages import EVENT, Event, EventLevel
from edgesplit.formatting import clock
from edgesplit.operations.event_operations import ListEvents
from edgesplit_controller.cli.ask import Conversation, ask
from edgesplit_controller.cli.common import Settings, common_options, help_epilog, note, print_json
from edgesplit_controller.cli.quantities import age_s
from edgesplit_controller.cli.shell.completion import model_names, node_names
from edgesplit_controller.cli.views.wrapping import hanging, terminal_width

__all__ = ["events", "stop_on_signals"]


def _age(_context: click.Context, _parameter: click.Parameter, text: str | None) -> float | None:
    """Read `--since`. [s]

    Raises:
        click.BadParameter: It is no age.
    """
    if text is None:
        return None
    seconds = age_s(text)
    if seconds is None:
        raise click.BadParameter(f"{text!r} must be a number with a unit, such as 90s, 15m, 2h or 30d")
    return seconds


@click.command(
    epilog=help_epilog(
        "splitctl events --since 2h --node edge\nsplitctl events --kind plans --model yolo --level warning\n"
        "splitctl events --follow --json | jq .text",
        "a list of {at_unix_s, origin, kind, text, model, node, data, level, heard_unix_s}, oldest first; data holds the figures "
        "behind the sentence (trigger, old and new prediction, switch cost, verdict). With --follow one such object a "
        "line.",
    )
)
@click.option("--follow", is_flag=True, help="Go on with what happens from now, until Ctrl-C.")
@click.option(
    "--limit", metavar="N", type=click.IntRange(0), default=200, show_default=True, help="Length of the history."
)
@click.option("--since", metavar="AGE", callback=_age, help="Not older than this: 90s, 15m, 2h, 30d.")
@click.option(
    "--kind",
    "kinds",
    metavar="KIND",
    multiple=True,
    help=f"Of this kind, such as planned, or of a history: {', '.join(HISTORIES)}. May be repeated.",
)
@click.option(
    "--model",
    "models",
    metavar="NAME",
    multiple=True,
    shell_complete=model_names,
    help="About this model. May be repeated.",
)
@click.option(
    "--node",
    "nodes",
    metavar="NAME",
    multiple=True,
    shell_complete=node_names,
    help="About or from this node. May be repeated.",
)
@click.option("--level", type=click.Choice(LEVELS), default="info", show_default=True, help="At least so grave.")
@common_options
def events(  # noqa: PLR0917 - one parameter an option
    settings: Settings,
    follow: bool,
    limit: int,
    since: float | None,
    kinds: tuple[str, ...],
    models: tuple[str, ...],
    nodes: tuple[str, ...],
    level: EventLevel,
) -> None:
    """Tell what happened and why.

    Nodes that joined or left, links that changed so much that a plan could, plans made, declined, activated and
    retired. Each history has a length of its own and goes back 30 days at most.
    """
    selection = EventSelection(
        since_unix_s=time.time() - since if since is not None else 0.0,
        kinds=kinds,
        models=models,
        nodes=nodes,
        level=level,
    )
    asked = ListEvents(limit=limit, selection=selection)
    if follow:
        # Ctrl-C is how following ends; the loop sees it as an order, and here only if it comes before the loop runs.
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_follow(settings, asked))
        return
    history = ask(settings, asked, list[Event])
    if settings.json:
        print_json(history)
        return
    for event in history:
        click.echo(_line(event))
    if not history:
        note("nothing has happened yet" if selection == EventSelection() else "nothing of that kind is remembered")


async def _follow(settings: Settings, asked: ListEvents) -> None:
    # What arrives is new, whatever the clock of the node says that tells it.
    arriving_selection = msgspec.structs.replace(asked.selection, since_unix_s=0.0)
    with stop_on_signals() as stopped:
        async with Conversation.of(settings) as conversation:
            live: asyncio.Queue[Event] = asyncio.Queue()

            def on_event(_topic: str, event: Event | None) -> None:
                if event is not None and arriving_selection.takes(event):
                    live.put_nowait(event)

            # Before the history is asked for: what happens meanwhile comes twice rather than never.
            conversation.bus.subscribe(EVENT, on_event)
            history = await conversation.ask(asked, list[Event])
            for event in history:
                _print(event, settings)
            overlap = set(map(_identity, history))
            stopping = asyncio.create_task(stopped.wait())
            while not stopping.done():
                arriving = asyncio.create_task(live.get())
                await asyncio.wait({arriving, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if not arriving.done():
                    arriving.cancel()
                elif _identity(event := arriving.result()) not in overlap:
                    _print(event, settings)


@contextlib.contextmanager
def stop_on_signals() -> Generator[asyncio.Event, None, None]:
    """An event that Ctrl-C and SIGTERM set instead of ending the process."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    handled: list[signal.Signals] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        # Only the main thread may handle signals; another one's owner stops it by other means.
        with contextlib.suppress(ValueError, RuntimeError, NotImplementedError):
            loop.add_signal_handler(number, stopped.set)
            handled.append(number)
    try:
        yield stopped
    finally:
        for number in handled:
            loop.remove_signal_handler(number)


def _identity(event: Event) -> tuple[float, str, str, str]:
    return (event.at_unix_s, event.origin, event.kind, event.text)


def _print(event: Event, settings: Settings) -> None:
    # click.echo flushes, so that a reader behind a pipe sees every event when it happens.
    if settings.json:
        print_json(event, indent=False)
    else:
        click.echo(_line(event))


def _line(event: Event) -> str:
    # Most texts name what they are about; the others are put in front of it.
    about = " ".join(part for part in (event.model, event.node) if part and part not in event.text)
    mark = {"info": " ", "warning": "!", "error": "E"}[event.level]
    what = f"{event.origin:<12} {mark} {event.kind:<18}"
    head = f"{clock(event.at_unix_s)}  {what}"
    return hanging(head, f"{f'{about}: ' if about else ''}{event.text}", terminal_width())
