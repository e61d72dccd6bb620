"""The process may open what its limits on connections can need."""

from __future__ import annotations

import resource

import pytest

from edgesplit_agent.open_files import OTHERS, allow_descriptors


@pytest.mark.parametrize(
    ("soft", "hard", "connections", "allowed"),
    [
        (1024, 524288, 1280, 1280 + OTHERS),
        (1024, 1100, 1280, 1100),
        (4096, 524288, 1280, 4096),
        (1024, resource.RLIM_INFINITY, 1280, 1280 + OTHERS),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, 1280, resource.RLIM_INFINITY),
    ],
)
def test_the_soft_limit_is_raised_as_far_as_connections_need_and_the_hard_one_allows(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, connections: int, allowed: int
) -> None:
    limits = [(soft, hard)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, wanted: limits.append(wanted))
    assert allow_descriptors(connections) == allowed
    assert limits[-1] == (allowed, hard)
