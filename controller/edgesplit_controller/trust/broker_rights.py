"""Rights at the broker: what Mosquitto's dynamic security plugin lets each holder of a certificate do.

Owns: users and roles of that plugin as values, the rules that follow from the table of topics, and what has to be asked of the plugin so that
its users are those of the fleet. Its rule: pure; an agent writes and reads what is its own, operators ask and read, the
controller does all; a user of other names is nobody's business here. Not here: asking (`trust/dynamic_security.py`), the broker's files
(`trust/broker_files.py`).

A role is named for its user and for the rules in it, so that what the broker holds can be compared by names alone.

References: Mosquitto 2.0, documentation of the dynamic security plugin: commands, ACL types.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from edgesplit.mqtt.topic import Program
from edgesplit.topic_table import Right, access_rules
from edgesplit.trust.subjects import Role, Subject

__all__ = [
    "CONTROL_TOPIC",
    "BrokerRole",
    "BrokerUsers",
    "changed_configuration",
    "commands_for",
    "first_configuration",
    "role_of",
]

CONTROL_TOPIC = "$CONTROL/dynamic-security"
DEFAULT_ACCESS: Mapping[str, bool] = dict.fromkeys(
    ("publishClientSend", "publishClientReceive", "subscribe", "unsubscribe"), False
)
"""What a user without a role for a topic may do: nothing."""
_PROGRAMS: Mapping[Role, Program] = {"controller": "controller", "node": "agent", "operator": "splitctl"}
_TYPES: Mapping[Right, tuple[str, ...]] = {
    "write": ("publishClientSend",),
    "read": ("publishClientReceive", "subscribePattern", "unsubscribePattern"),
    "readwrite": ("publishClientSend", "publishClientReceive", "subscribePattern", "unsubscribePattern"),
}
_OURS = ("node:", "operator:")
"""Users that come and go with certificates; the controller itself stands in the broker's first configuration."""


class _Rule(msgspec.Struct, frozen=True, order=True):
    """One rule of a role, as the plugin has it."""

    acltype: str
    topic: str
    priority: int = 0
    allow: bool = True


@dataclass(frozen=True)
class BrokerRole:
    """A role of one user."""

    user: str
    rules: tuple[_Rule, ...]

    @property
    def name(self) -> str:
        """The user's, and what tells its rules from others."""
        return f"{self.user}#{hashlib.sha256(msgspec.json.encode(self.rules)).hexdigest()[:12]}"

    @property
    def as_command(self) -> dict[str, Any]:
        """Its keys in commands and files of the plugin."""
        return {"rolename": self.name, "acls": msgspec.to_builtins(self.rules)}


@dataclass(frozen=True)
class BrokerUsers:
    """What the plugin holds now.

    Attributes:
        roles_of: User to names of its roles.
        roles: Names of all roles.
        default_access: What holds without a role, by ACL type.
    """

    roles_of: Mapping[str, tuple[str, ...]]
    roles: frozenset[str]
    default_access: Mapping[str, bool]


def role_of(subject: Subject, user: str = "", *, elsewhere: str = "") -> BrokerRole | None:
    """What a subject may do at the broker; None for one who has nothing to say there.

    Args:
        subject: Who.
        user: Its name there; empty: its common name.
        elsewhere: A prefix of topics of another program that the controller tells things to; empty for none.
    """
    program = _PROGRAMS.get(subject.role)
    if program is None:
        return None
    rules: list[tuple[Right, str]] = [*access_rules(program, subject.name)]
    if subject.role == "controller":
        rules.append(("readwrite", f"{CONTROL_TOPIC}/#"))
        if elsewhere:
            rules.append(("readwrite", f"{elsewhere}/#"))
    found = {_Rule(kind, topic) for right, topic in rules for kind in _TYPES[right]}
    return BrokerRole(user or subject.common_name, tuple(sorted(found)))


def commands_for(users: Mapping[str, Subject], held: BrokerUsers) -> list[dict[str, Any]]:
    """What makes the broker's users those of the fleet; users whose rules are right stay connected.

    Args:
        users: Everybody who holds a certificate, by the name in it that brokers go by.
        held: What the plugin holds.
    """
    wanted = {
        user: role for user, subject in users.items() if user.startswith(_OURS) and (role := role_of(subject, user))
    }
    names = {role.name for role in wanted.values()}
    commands: list[dict[str, Any]] = []
    if dict(held.default_access) != dict(DEFAULT_ACCESS):
        acls = [{"acltype": kind, "allow": allow} for kind, allow in DEFAULT_ACCESS.items()]
        commands.append({"command": "setDefaultACLAccess", "acls": acls})
    commands += [
        {"command": "createRole", **role.as_command} for role in wanted.values() if role.name not in held.roles
    ]
    for user, role in wanted.items():
        roles = [{"rolename": role.name}]
        if user not in held.roles_of:
            commands.append({"command": "createClient", "username": user, "roles": roles})
        elif held.roles_of[user] != (role.name,):
            commands.append({"command": "modifyClient", "username": user, "roles": roles})
    commands += [
        {"command": "deleteClient", "username": user}
        for user in sorted(held.roles_of)
        if user.startswith(_OURS) and user not in wanted
    ]
    commands += [
        {"command": "deleteRole", "rolename": name}
        for name in sorted(held.roles)
        if name.startswith(_OURS) and name not in names
    ]
    return commands


def first_configuration(controller: Subject, elsewhere: str = "") -> bytes:
    """The plugin's file before the controller has connected: nobody but it may do anything; `elsewhere` as of `role_of`."""
    return _encoded(
        {"defaultACLAccess": DEFAULT_ACCESS, "clients": [], "groups": [], "roles": []}, controller, elsewhere
    )


def changed_configuration(held: bytes, controller: Subject, elsewhere: str = "") -> bytes:
    """A file of the plugin's with the controller's rights as they should be, and everybody else's as they are.

    Raises:
        ValueError: It is none of the plugin's.
    """
    try:
        return _encoded(msgspec.json.decode(held, type=dict[str, Any]), controller, elsewhere)
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError("this is no file of the dynamic security plugin") from error


def _encoded(held: dict[str, Any], controller: Subject, elsewhere: str) -> bytes:
    role = role_of(controller, elsewhere=elsewhere)
    if role is None:
        raise ValueError(f"{controller} administers no broker")
    clients = [client for client in held["clients"] if client["username"] != role.user]
    roles = [one for one in held["roles"] if not one["rolename"].startswith(f"{role.user}#")]
    own = {"username": role.user, "roles": [{"rolename": role.name}]}
    changed = {**held, "clients": [own, *clients], "roles": [role.as_command, *roles]}
    return msgspec.json.format(msgspec.json.encode(changed))
