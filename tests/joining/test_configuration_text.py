"""Keys of agent.toml are changed without touching anything else, or not at all."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesplit.errors import InvalidConfiguration
from edgesplit_agent.joining.configuration_text import Changes, edited, new_text

CHANGES: Changes = {
    ("", "name"): "camera",
    ("broker", "url"): "mqtts://b",
    ("broker", "ca_file"): None,
    ("security", "mode"): "fleet",
}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", 'name = "camera"\n\n[broker]\nurl = "mqtts://b"\n\n[security]\nmode = "fleet"\n'),
        (
            '# mine\nname = "a" # old\n[broker]\nca_file = "x"\nurl = "y"\n[power]\nurl = "z"\n',
            '# mine\nname = "camera"\n[broker]\nurl = "mqtts://b"\n[power]\nurl = "z"\n\n[security]\nmode = "fleet"\n',
        ),
        (
            "[ broker ] # where\n[emulation.links.edge]\nup = true\n[security]\n",
            'name = "camera"\n[ broker ] # where\nurl = "mqtts://b"\n[emulation.links.edge]\nup = true\n[security]\nmode = "fleet"\n',
        ),
    ],
)
def test_only_what_is_named_changes(before: str, after: str) -> None:
    assert edited(before, CHANGES) == after
    assert edited(after, CHANGES) == after


@pytest.mark.parametrize(
    "text",
    [
        'broker.url = "x"\n',
        'broker = { url = "x" }\n',
        '[[broker]]\nurl = "x"\n',
        'name = """\nmany\nlines"""\n',
        '[broker]\n"url" = "x"\n',
    ],
)
def test_what_cannot_be_changed_so_is_refused(text: str) -> None:
    with pytest.raises(InvalidConfiguration, match=r"cannot change: move it away, or set name, \[broker\] url"):
        edited(text, CHANGES)


def test_what_is_no_toml_is_refused() -> None:
    with pytest.raises(InvalidConfiguration, match="not valid TOML"):
        edited("name = ", CHANGES)


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x7f"), max_size=20)


@given(TEXTS, TEXTS)
def test_any_text_arrives_as_it_is(name: str, folder: str) -> None:
    read = tomllib.loads(new_text("/agent.toml", name, "mqtts://b", folder))
    assert (read["name"], read["security"]["folder"]) == (name, folder)
    assert tomllib.loads(edited("", {("", "name"): name}))["name"] == name
