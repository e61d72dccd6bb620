"""Join tokens: they say whose they are, and nothing else is taken for one."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesplit.errors import InvalidInput
from edgesplit.trust.enrolment import JoinToken, token_digest

AUTHORITY = "ab" * 32


def test_a_token_says_its_authority_and_survives_being_written() -> None:
    token = JoinToken.new(AUTHORITY)
    assert JoinToken.parse(str(token)) == token
    assert JoinToken.parse(str(token)).authority == AUTHORITY


def test_two_tokens_of_an_authority_differ() -> None:
    assert str(JoinToken.new(AUTHORITY)) != str(JoinToken.new(AUTHORITY))


def test_a_representation_keeps_the_secret() -> None:
    token = JoinToken.new(AUTHORITY)
    assert str(token) not in repr(token)
    assert token.secret.hex() not in repr(token)
    assert repr(token.secret) not in repr(token)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "esj_",
        "est_" + "A" * 64,
        "esj_" + "A" * 63,
        "esj_" + "A" * 65,
        "esj_" + "A" * 63 + "+",
        "esj_" + "A" * 63 + "é",
    ],
)
def test_anything_else_is_no_token_and_is_not_repeated(text: str) -> None:
    with pytest.raises(InvalidInput, match="no join token") as refusal:
        JoinToken.parse(text)
    assert len(text) < 10 or text not in str(refusal.value)


@given(st.text(max_size=80))
def test_no_text_breaks_the_reader(text: str) -> None:
    with contextlib.suppress(InvalidInput):
        assert str(JoinToken.parse(text)) == text


def test_what_is_kept_of_a_token_is_its_sha_256() -> None:
    assert token_digest("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
