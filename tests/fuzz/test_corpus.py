"""Every input that was kept, and mutations of them, through every target; `make fuzz` searches for more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.corpus import kept
from tests.fuzz.seeds import seeds
from tests.fuzz.signed_payloads import SignedPayloads
from tests.fuzz.targets import TARGETS, FrameStream, InferenceBody, SecuredConversation, Target, bounded

KEPT = tuple(kept())


@pytest.fixture(scope="module", params=sorted(TARGETS))
def target(request: pytest.FixtureRequest) -> Iterator[tuple[str, Target]]:
    """A target, started once."""
    made = TARGETS[request.param]()
    yield request.param, made
    made.close()


def test_no_kept_input_breaks_anything(target: tuple[str, Target]) -> None:
    name, running = target
    inputs = [(label, data) for of, label, data in KEPT if of == name]
    assert inputs
    for label, data in inputs:
        try:
            with bounded():
                running.run(data)
        except Exception as error:
            raise AssertionError(f"{name}/{label}: {error}") from error


def test_the_seeds_on_disk_cover_every_kind_of_input() -> None:
    assert {(target, name) for target, name, _ in seeds()} <= {(target, name) for target, name, _ in KEPT}


SEEDS = {name: [data for target, _, data in seeds() if target == name and len(data) < 4096] for name in TARGETS}

SIGNED = SignedPayloads()


@st.composite
def mutated(draw: st.DrawFn, target: str) -> bytes:
    """A seed with some bytes replaced, removed, or added."""
    data = bytearray(draw(st.sampled_from(SEEDS[target])))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        removed = draw(st.integers(0, 8))
        data[at : at + removed] = draw(st.binary(max_size=8))
    return bytes(data)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutated("frames"))
def test_mutated_frames_are_parsed_or_refused(data: bytes) -> None:
    FrameStream().run(data)


@pytest.fixture(scope="module")
def secured() -> Iterator[SecuredConversation]:
    """A secured data plane, started once."""
    made = SecuredConversation()
    yield made
    made.close()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=mutated("secured"))
def test_mutated_conversations_inside_and_instead_of_tls_harm_nobody(secured: SecuredConversation, data: bytes) -> None:
    secured.run(data)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutated("body"))
def test_mutated_bodies_are_read_or_refused(data: bytes) -> None:
    running = InferenceBody()
    running.run(data)
    running.close()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutated("signed"))
def test_mutated_payloads_are_refused_unless_they_are_what_was_signed(data: bytes) -> None:
    SIGNED.run(data)
