"""Guesses are limited by address and in all; nobody else is kept waiting, and memory is bounded."""

from __future__ import annotations

from edgesplit_controller.trust.wrong_tokens import (
    MOST_IN_ALL,
    MOST_OF_AN_ADDRESS,
    REMEMBERED_ADDRESSES,
    WINDOW_S,
    WrongTokens,
)


def test_an_address_waits_until_its_first_guess_is_a_minute_old() -> None:
    wrong = WrongTokens()
    for number in range(MOST_OF_AN_ADDRESS):
        assert wrong.wait_s("10.0.0.1", float(number)) == 0.0
        wrong.count("10.0.0.1", float(number))
    assert wrong.wait_s("10.0.0.1", 10.0) == WINDOW_S - 10.0
    assert wrong.wait_s("10.0.0.2", 10.0) == 0.0
    assert wrong.wait_s("10.0.0.1", WINDOW_S) == 0.0


def test_guesses_from_everywhere_are_limited_together() -> None:
    wrong = WrongTokens()
    for number in range(MOST_IN_ALL):
        wrong.count(f"10.0.{number // 250}.{number % 250}", 0.0)
    assert wrong.wait_s("10.9.9.9", 1.0) == WINDOW_S - 1.0


def test_addresses_that_are_remembered_are_bounded_and_the_quietest_goes_first() -> None:
    wrong = WrongTokens()
    for number in range(3 * REMEMBERED_ADDRESSES):
        wrong.count("10.0.0.1", number * WINDOW_S)  # comes again and again, and so is never the quietest
        wrong.count(f"address {number}", number * WINDOW_S)
    assert len(wrong) == REMEMBERED_ADDRESSES
    now_s = 3 * REMEMBERED_ADDRESSES * WINDOW_S
    for _ in range(MOST_OF_AN_ADDRESS):
        wrong.count("10.0.0.1", now_s)
    assert wrong.wait_s("10.0.0.1", now_s) == WINDOW_S
