from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgesplit.wire.frames import pack_tensor
from edgesplit.wire.headers import ExecutionKey
from edgesplit_agent.dataplane.backlog import Backlog, Waiting


def waiting(number: int, nbytes: int, expires_at_s: float | None) -> Waiting:
    tensor = pack_tensor("x", np.zeros(nbytes, np.uint8))
    return Waiting(ExecutionKey("m", 1, str(number)), [tensor], expires_at_s)


expiry = st.one_of(st.none(), st.integers(0, 30).map(float))
events = st.one_of(
    st.tuples(st.just("put"), st.integers(0, 100), expiry),
    st.tuples(st.just("drop"), st.integers(0, 20), st.none()),
    st.tuples(st.just("room"), st.integers(0, 150), st.none()),
    st.tuples(st.just("time"), st.integers(0, 5), st.none()),
)


@given(st.lists(events, max_size=60))
def test_whatever_happens_tensors_leave_in_order_at_most_once_and_never_too_late(
    todo: list[tuple[str, int, float | None]],
) -> None:
    backlog, now_s, count = Backlog(), 0.0, 0
    expiries: list[float | None] = []
    left: list[int] = []
    dropped: set[int] = set()
    for what, amount, expires_at_s in todo:
        if what == "put":
            backlog.put(waiting(count, amount, expires_at_s))
            expiries.append(expires_at_s)
            count += 1
        elif what == "drop":
            backlog.drop(ExecutionKey("m", 1, str(amount)))
            dropped |= {amount} if amount < count else set[int]()
        elif what == "time":
            now_s += amount
        else:
            room = amount
            while (taken := backlog.take(room.__ge__, now_s)) is not None:
                room -= taken.nbytes
                number = int(taken.key.request)
                assert number not in dropped
                expires = expiries[number]
                assert expires is None or now_s < expires
                left.append(number)
            assert room >= 0
    assert left == sorted(set(left))
    while (taken := backlog.take(lambda _: True, now_s)) is not None:
        left.append(int(taken.key.request))
    assert not backlog
    alive = {number for number, expires in enumerate(expiries) if expires is None or now_s < expires}
    assert alive - dropped <= set(left)


def test_what_is_forgotten_is_named_so_that_it_can_be_sent_another_way() -> None:
    backlog = Backlog()
    for number in range(2):
        backlog.put(waiting(number, 10, None))
    assert backlog.clear() == [ExecutionKey("m", 1, "0"), ExecutionKey("m", 1, "1")]
    assert not backlog
