"""Tokens of clients: whom they let in, for which models, how often, and when no more; pure."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from edgesplit.errors import NotTrusted
from edgesplit.trust.tokens import ModelNotGranted, RateExhausted, TokenBook, TokenGrant

GRANT = TokenGrant("ann", hashlib.sha256(b"est_a").hexdigest(), 1000.0)


def book(grant: TokenGrant = GRANT) -> TokenBook:
    """That knows one."""
    made = TokenBook()
    made.replace([grant])
    return made


def test_a_token_is_known_by_its_digest_until_it_expires_or_is_withdrawn() -> None:
    tokens = book()
    assert tokens.grant_of("est_a", now_s=999.9) == GRANT
    with pytest.raises(NotTrusted, match="is not known here"):
        tokens.grant_of("est_b", now_s=0.0)
    with pytest.raises(NotTrusted, match=r"has expired.*clock"):
        tokens.grant_of("est_a", now_s=1000.0)
    with pytest.raises(NotTrusted, match="has expired"):
        tokens.spend(GRANT, "m", now_s=1000.0)
    tokens.replace([])
    with pytest.raises(NotTrusted, match="was withdrawn"):
        tokens.spend(GRANT, "m", now_s=0.0)


def test_a_token_without_models_is_for_all_and_one_with_some_for_them() -> None:
    book().spend(GRANT, "anything", now_s=0.0)
    limited = replace(GRANT, models=("a", "b"))
    tokens = book(limited)
    tokens.spend(limited, "b", now_s=0.0)
    with pytest.raises(ModelNotGranted, match="is not for model 'c'"):
        tokens.spend(limited, "c", now_s=0.0)


def test_what_holds_is_the_grant_of_now_not_that_of_the_greeting() -> None:
    tokens = book()
    tokens.replace([replace(GRANT, models=("a",))])
    with pytest.raises(ModelNotGranted):
        tokens.spend(GRANT, "b", now_s=0.0)


def test_a_rate_is_spent_over_ten_seconds_and_comes_back() -> None:
    limited = replace(GRANT, rate_hz=2.0)
    tokens = book(limited)
    for _ in range(20):
        tokens.spend(limited, "m", now_s=5.0)
    with pytest.raises(RateExhausted, match="2 requests a second") as refused:
        tokens.spend(limited, "m", now_s=5.0)
    assert refused.value.retry_after_s == pytest.approx(0.5)
    tokens.spend(limited, "m", now_s=5.5)
    with pytest.raises(RateExhausted):
        tokens.spend(limited, "m", now_s=5.6)
    # A list that comes anew gives nothing back, nor does a clock that is set back.
    tokens.replace([limited])
    with pytest.raises(RateExhausted):
        tokens.spend(limited, "m", now_s=0.0)
    for _ in range(20):
        tokens.spend(limited, "m", now_s=900.0)


def test_a_slow_rate_allows_one_request_at_a_time_and_none_allows_none_after_it() -> None:
    slow = replace(GRANT, rate_hz=0.01)
    tokens = book(slow)
    tokens.spend(slow, "m", now_s=0.0)
    with pytest.raises(RateExhausted) as refused:
        tokens.spend(slow, "m", now_s=0.0)
    assert refused.value.retry_after_s == pytest.approx(100.0)
