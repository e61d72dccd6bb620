"""Conversation with Mosquitto's dynamic security plugin over the controller's own connection.

Owns: asking and awaiting answers, and keeping the broker's users those of the fleet: at each connection, and at each change. Its rule: one
conversation at a time; a broker that does not answer is told once, and asked again at the next occasion, for it may be another than
Mosquitto, with rights that somebody else sets. Not here: which users and rights (`trust/broker_rights.py`), the connection.

References: Mosquitto 2.0, documentation of the dynamic security plugin.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import structlog

from edgesplit.errors import Unreachable
from edgesplit.trust.subjects import Subject
from edgesplit_controller.trust.broker_rights import CONTROL_TOPIC, BrokerUsers, commands_for

__all__ = ["ANSWERS", "DynamicSecurity"]

REQUESTS = f"{CONTROL_TOPIC}/v1"
ANSWERS = f"{CONTROL_TOPIC}/v1/response"
"""The plugin answers whoever asked, alone, where that listens here."""
ANSWER_S = 5.0
"""For the plugin to answer. [s]"""
AT_ONCE = 20
"""Commands in one message: the plugin answers each when all are done."""


class _Answer(msgspec.Struct, frozen=True):
    """One command's."""

    command: str
    error: str = ""
    correlation: str = msgspec.field(default="", name="correlationData")
    data: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])


class _Answers(msgspec.Struct, frozen=True):
    responses: tuple[_Answer, ...]


class DynamicSecurity:
    """The plugin of one broker.

    Args:
        send: Publishes a payload on a topic of the broker's own; whether it is under way.
        users: Whoever holds a certificate now, by the name in it that the broker goes by.
        on_silent: Told why rights could not be set, when that begins.
    """

    def __init__(
        self,
        send: Callable[[str, bytes], bool],
        users: Callable[[], Mapping[str, Subject]],
        on_silent: Callable[[str], None],
    ) -> None:
        self._send = send
        self._users = users
        self._on_silent = on_silent
        self._log = structlog.get_logger(part="trust")
        self._awaited: dict[str, asyncio.Future[_Answer]] = {}
        self._one_at_a_time = asyncio.Lock()
        self._told = False

    def hear(self, payload: bytes) -> None:
        """Something came on `ANSWERS`."""
        try:
            answers = msgspec.json.decode(payload, type=_Answers).responses
        except msgspec.DecodeError as error:
            self._log.warning("broker-answer-malformed", reason=str(error))
            return
        for answer in answers:
            waiting = self._awaited.pop(answer.correlation, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(answer)

    async def establish(self) -> bool:
        """Make the broker's users those of the fleet; whether it confirmed all of it."""
        async with self._one_at_a_time:
            try:
                # Asked anew each time: somebody may have changed it, and the broker may have lost it.
                commands = commands_for(self._users(), await self._held())
                for begin in range(0, len(commands), AT_ONCE):
                    await self._ask(commands[begin : begin + AT_ONCE])
            except Unreachable as error:
                if not self._told:
                    self._on_silent(str(error))
                self._told = True
                return False
            if commands:
                self._log.info("broker-rights-set", commands=len(commands))
            self._told = False
            return True

    async def _held(self) -> BrokerUsers:
        clients, roles, access = await self._ask(
            [
                {"command": "listClients", "verbose": True, "count": -1},
                {"command": "listRoles", "verbose": False, "count": -1},
                {"command": "getDefaultACLAccess"},
            ]
        )
        return BrokerUsers(
            roles_of={
                str(client["username"]): tuple(str(role["rolename"]) for role in client.get("roles", ()))
                for client in clients.data.get("clients", ())
            },
            roles=frozenset(map(str, roles.data.get("roles", ()))),
            default_access={str(acl["acltype"]): bool(acl["allow"]) for acl in access.data.get("acls", ())},
        )

    async def _ask(self, commands: list[dict[str, Any]]) -> list[_Answer]:
        """Have commands carried out.

        Raises:
            Unreachable: No answer came, or the plugin refuses one.
        """
        loop = asyncio.get_running_loop()
        named = [{**command, "correlationData": secrets.token_hex(8)} for command in commands]
        waiting = {str(command["correlationData"]): loop.create_future() for command in named}
        self._awaited |= waiting
        try:
            if not self._send(REQUESTS, msgspec.json.encode({"commands": named})):
                raise Unreachable("the broker is away: rights there are set once it is back")
            async with asyncio.timeout(ANSWER_S):
                answers: list[_Answer] = await asyncio.gather(*waiting.values())
        except TimeoutError:
            raise Unreachable(
                "the broker does not answer about rights: it has no dynamic security plugin, or does not let the controller use it "
                "(splitctl broker config writes what it needs)"
            ) from None
        finally:
            for correlation in waiting:
                self._awaited.pop(correlation, None)
        refused = [answer for answer in answers if answer.error]
        if refused:
            raise Unreachable(f"the broker refuses {refused[0].command}: {refused[0].error}")
        return answers
