import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.card import IntRange
from service.domain.catalog import CARDS

RANGES = st.builds(
    lambda low, count, step: IntRange(low=low, high=low + count * step, step=step),
    st.integers(1, 100),
    st.integers(0, 50),
    st.integers(1, 40),
)


@given(allowed=RANGES, value=st.integers(-100, 5000))
def test_nearest_is_a_member_and_no_member_is_nearer(allowed: IntRange, value: int) -> None:
    members = range(allowed.low, allowed.high + 1, allowed.step)

    nearest = allowed.nearest(value)

    assert nearest in allowed
    assert abs(nearest - value) == min(abs(member - value) for member in members)


@given(allowed=RANGES, value=st.integers(-100, 5000))
def test_neighbours_enclose_the_value(allowed: IntRange, value: int) -> None:
    around = allowed.neighbours(value)

    assert all(number in allowed for number in around)
    assert allowed.nearest(value) in around


@pytest.mark.parametrize("card", CARDS.values(), ids=CARDS.keys())
def test_a_cards_defaults_are_possible(card) -> None:  # type: ignore[no-untyped-def]
    assert card.default_width in card.side
    assert card.default_height in card.side
    assert card.default_fps in card.fps
    assert card.default_steps in card.steps
    assert card.default_guidance in card.guidance
    assert card.frames.nearest(card.default_seconds * card.default_fps) in card.frames
    assert all(len(source.revision) == 40 for source in card.weights)
