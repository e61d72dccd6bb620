"""Patience of clients: what is sent again, and until when."""

from __future__ import annotations

import pytest

from edgesplit.client.patience import Patience
from edgesplit.errors import (
    EdgesplitError,
    InvalidTensor,
    NodeUnreachable,
    NotDeployed,
    Overloaded,
    PeerUnreachable,
    UnknownModel,
)

AWAY = NodeUnreachable("device is shutting down")
PASSING = [AWAY, PeerUnreachable("the source cannot be reached")]
FINAL = [InvalidTensor("another shape"), Overloaded("full"), UnknownModel("no such model"), NotDeployed("not here")]


@pytest.mark.parametrize("error", [*PASSING, *FINAL], ids=lambda error: error.code)
def test_without_patience_every_error_is_final(error: EdgesplitError) -> None:
    assert Patience(0.0).pause_s(error, 1, 0.0, 100.0, 0.5) is None


@pytest.mark.parametrize("error", PASSING, ids=lambda error: error.code)
def test_what_is_away_is_asked_again_with_growing_pauses_until_patience_ends(error: EdgesplitError) -> None:
    patience = Patience(30.0)
    pauses_s = [patience.pause_s(error, tries, 0.0, 100.0, 0.0) for tries in (1, 2, 3, 20)]
    assert pauses_s == [0.1, 0.2, 0.4, 1.0]
    assert patience.pause_s(error, 1, 29.9, 100.0, 0.0) is not None
    assert patience.pause_s(error, 1, 30.0, 100.0, 0.0) is None


@pytest.mark.parametrize("error", FINAL, ids=lambda error: error.code)
def test_an_agent_that_is_there_has_the_last_word(error: EdgesplitError) -> None:
    assert Patience(30.0).pause_s(error, 1, 0.0, 100.0, 0.0) is None


@pytest.mark.parametrize(
    "error", [UnknownModel("no such model"), NotDeployed("not here")], ids=lambda error: error.code
)
def test_an_agent_that_came_back_may_not_know_its_models_yet(error: EdgesplitError) -> None:
    patience = Patience(30.0)
    patience.pause_s(AWAY, 1, 0.0, 100.0, 0.0)
    assert patience.pause_s(error, 1, 0.0, 101.0, 0.0) == 0.1
    assert patience.pause_s(error, 1, 0.0, 130.0, 0.0) is None
