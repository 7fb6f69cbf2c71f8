"""The ack window against a plain model: what is taken is the finished prefix, each position once, in order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.ackwindow import AckWindow

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("hand_out"), st.integers(0, 3)),
        st.tuples(st.just("finish"), st.integers(0, 1000)),
        st.tuples(st.just("take"), st.just(0)),
    ),
    max_size=200,
)


@given(STEPS)
def test_takes_the_finished_prefix(steps: list[tuple[str, int]]) -> None:
    window: AckWindow[str] = AckWindow()
    left: list[int] = []  # the model: parts left, by ticket
    taken = 0
    for step, number in steps:
        if step == "hand_out":
            assert window.hand_out(f"p{len(left)}", number) == len(left)
            left.append(number)
        elif step == "finish":
            unfinished = [ticket for ticket, parts in enumerate(left) if parts]
            if unfinished:
                ticket = unfinished[number % len(unfinished)]
                window.finish(ticket)
                left[ticket] -= 1
        else:
            end = next((i for i, parts in enumerate(left) if parts), len(left))
            assert window.take() == [f"p{i}" for i in range(taken, end)]
            taken = end
        assert len(window) == len(left) - taken


def test_a_part_can_not_finish_twice() -> None:
    window: AckWindow[int] = AckWindow()
    ticket = window.hand_out(7)
    window.finish(ticket)
    with pytest.raises(KeyError):
        window.finish(ticket)
    assert window.take() == [7]
    with pytest.raises(KeyError):
        window.finish(ticket)


def test_packet_ids_come_again_after_they_were_taken() -> None:
    window: AckWindow[int] = AckWindow()
    for _ in range(3):
        window.finish(window.hand_out(1))
        assert window.take() == [1]
    assert window.take() == []
