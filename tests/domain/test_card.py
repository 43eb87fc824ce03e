import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.models.card import IntRange, ModelCard
from service.domain.models.catalog import CARDS
from service.domain.request import VideoParams
from service.domain.resolve.resolve import resolve

VIDEO_CARDS = [card for card in CARDS.values() if card.kind == "video"]
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
def test_a_cards_defaults_are_possible(card: ModelCard) -> None:
    assert card.default_width in card.side
    assert card.default_height in card.side
    assert card.default_fps in card.fps
    assert card.default_steps in card.steps
    assert card.default_guidance in card.guidance
    assert card.frames.nearest(card.default_seconds * card.default_fps) in card.frames
    # LongCat's are settings, whose default is the newest.
    pinned = card.name != "longcat"
    assert all((len(source.revision) == 40) == pinned for source in card.weights)


@pytest.mark.parametrize("card", CARDS.values(), ids=CARDS.keys())
def test_a_card_says_what_it_needs_and_whose_it_is(card: ModelCard) -> None:
    assert card.features[0] == ("text-to-video" if card.kind == "video" else "speech")
    assert card.licence.name
    if card.sandbox or not card.gpus:
        return
    assert card.gpu_memory_offload_gb is not None
    assert card.gpu_memory_gb is not None
    assert card.gpu_memory_offload_gb < card.gpu_memory_gb
    assert card.weights
    assert card.licence.url
    assert bool(card.licence.excluded_regions) <= card.licence.opt_in


@pytest.mark.parametrize("card", VIDEO_CARDS, ids=lambda card: card.name)
def test_what_a_card_expects_is_near_what_it_says_of_its_first_gpu(card: ModelCard) -> None:
    if card.sandbox:
        return
    default = resolve(VideoParams(prompt="x"), card, seed=0)

    said = next(s for s in card.speeds if s.gpu == card.gpus[0] and s.kind != "cited")

    assert card.expected_seconds(default) == pytest.approx(said.seconds, rel=0.2)


def test_more_steps_and_larger_clips_are_expected_to_take_longer() -> None:
    card = CARDS["wan2.2-5b"]
    base = resolve(VideoParams(prompt="x", num_frames=61), card, seed=0)

    more = base.model_copy(update={"num_inference_steps": 60})
    longer = base.model_copy(update={"num_frames": 121})

    assert card.expected_seconds(more) > card.expected_seconds(base)
    # Attention grows with the square of the clip.
    assert card.expected_seconds(longer) > 2.2 * card.expected_seconds(base)


@pytest.mark.parametrize("card", CARDS.values(), ids=lambda card: card.name)
def test_those_that_take_over_are_other_real_models(card: ModelCard) -> None:
    assert card.name not in card.fallbacks
    assert len(set(card.fallbacks)) == len(card.fallbacks)
    assert not any(CARDS[name].sandbox for name in card.fallbacks)


@pytest.mark.parametrize("card", CARDS.values(), ids=lambda card: card.name)
def test_a_card_in_a_ticket_is_the_same_card(card: ModelCard) -> None:
    """Else a worker would load its model again."""
    assert ModelCard.model_validate_json(card.model_dump_json()) == card
