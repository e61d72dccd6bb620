"""Tables of docs/protocol.md, from the table of topics and the types of messages.

Owns: what each topic is, who removes what, the broker's access rules that follow, and the keys of all messages. Its rule: that
of `tests/claims/doc_tables.py`, what a table says stands in the code and nowhere else. Not here: the page's own words.
"""

from __future__ import annotations

from typing import Any

from edgesplit.control.profile_messages import MODEL_OFFER, CalibrationPlan, ProfilePlan
from edgesplit.mqtt.bus import FLUSH
from edgesplit.mqtt.topic import Program, Topic
from edgesplit.topic_table import TABLE, access_rules
from tests.claims.struct_tables import Struct, section, table, type_text, visit

__all__ = ["message_tables", "removal_table", "rights", "topic_table"]


def topic_table() -> str:
    """Every topic there is, in the order of the table."""
    head = ("topic", "message", "what it is for", "retained", "written by", "signed by", "read by", "at most")
    return table(head, [topic_row(row) for row in TABLE])


def topic_row(row: Topic[Any]) -> tuple[str, ...]:
    """One topic."""
    return (
        f"`{shown(row)}`",
        "nothing" if row is FLUSH else type_text(row.payload),
        row.says,
        "yes" if row.retained else "",
        programs(row.writers),
        row.signer or "",
        programs(row.readers),
        ""
        if row is FLUSH
        else f"{row.limit_bytes >> 10:,} KiB"
        if row.limit_bytes < 1 << 20
        else f"{row.limit_bytes >> 20} MiB",
    )


def shown(row: Topic[Any]) -> str:
    """A topic below `edgesplit/1/`, names in capitals."""
    return (
        row.pattern.replace("{", "").replace("}", "")
        if not row.placeholders
        else "/".join(level[1:-1].upper() if level.startswith("{") else level for level in row.pattern.split("/"))
    )


def programs(said: tuple[Program, ...]) -> str:
    """Kinds of programs in a sentence."""
    return ", ".join("agents" if program == "agent" else program for program in said)


def removal_table() -> str:
    """Who removes which retained message."""
    rows: list[tuple[str, ...]] = []
    for row in TABLE:
        if row.retained:
            removed = row.cleared or "only with the node"
            if row.lives_with is not None:
                removed = f"by the agent, once `{shown(row.lives_with)}` was removed{row.cleared and ' '}{row.cleared}"
            rows.append((f"`{shown(row)}`", removed, "yes" if row.defended else ""))
    return table(("topic", "removed", "defended"), rows)


def message_tables() -> str:
    """Every type that messages and the blobs they name consist of, in the order of the topics; each once."""
    found: dict[Struct, None] = {}
    for row in TABLE:
        if row is not FLUSH:
            visit(row.payload, found)
            if row is MODEL_OFFER:
                for blob in (ProfilePlan, CalibrationPlan):
                    visit(blob, found)
    return "\n\n".join(section(struct, struct.__name__) for struct in found)


def rights() -> str:
    """Access rules for Mosquitto's `acl_file`."""
    agents = [f"pattern {right} {topic}" for right, topic in access_rules("agent", "%u")]
    lines = ["# agents, each connected under its node's name", *agents, "", "user controller"]
    lines += [f"topic {right} {topic}" for right, topic in access_rules("controller", "")]
    lines += ["", "user operator"]
    lines += [f"topic {right} {topic}" for right, topic in access_rules("splitctl", "")]
    return "\n".join(["```", *lines, "```"])
