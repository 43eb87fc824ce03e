from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from service.domain.models.card import IntRange, ModelCard
from service.domain.models.catalog import PUPPET, SLATE
from service.domain.request import MAX_SEED
from service.domain.resolve.segments import plan
from tests import make


def card(*, clip: int | None = 121, overlap: int = 25, step: int = 8) -> ModelCard:
    """With LTX-Video's frame rule, unless told otherwise."""
    frames = IntRange(low=1 + step, high=1 + step * 100_000, step=step)
    return SLATE.model_copy(update={"frames": frames, "clip_frames": clip, "overlap": overlap})


def test_what_is_made_at_once_is_one_segment_and_the_request_itself() -> None:
    request = make.request(num_frames=121)

    (only,) = plan(request, card())

    assert only.request == request
    assert (only.overlap, only.next_overlap, only.first, only.last) == (0, 0, True, True)


def test_a_model_that_makes_all_lengths_at_once_cuts_nothing() -> None:
    assert card(clip=None).count_segments(100_001) == 1


def test_thirty_seconds_are_cut_into_equal_segments() -> None:
    segments = plan(make.request(num_frames=721), card(overlap=9))

    assert [segment.request.num_frames for segment in segments] == [
        113, 113, 113, 113, 113, 105, 105
    ]  # fmt: skip


@given(total=st.integers(1, 15_000))
def test_whole_clips_are_cut_at_the_end_of_the_video_alone(total: int) -> None:
    model = PUPPET.model_copy(update={"clip_frames": 93, "overlap": 13, "full_clips": True})
    request = make.request(num_frames=total)

    segments = plan(request, model)

    assert len(segments) == 1 + max(0, -(-(total - 93) // 80))
    assert sum(segment.kept_frames for segment in segments) == total
    assert [segment.start for segment in segments] == [80 * n for n in range(len(segments))]
    lengths = [segment.request.shape.num_frames for segment in segments]
    assert lengths[:-1] == [93] * (len(segments) - 1)
    assert len(segments) == 1 or 13 < lengths[-1] <= 93


@given(
    step=st.sampled_from([1, 4, 6, 8]),
    overlap=st.integers(1, 4),
    room=st.integers(1, 20),
    steps=st.integers(1, 3_000),
)
def test_segments_make_up_the_video_exactly(step: int, overlap: int, room: int, steps: int) -> None:
    shared = 1 + step * overlap
    model = card(clip=shared + step * room, overlap=shared, step=step)
    total = 1 + step * steps

    segments = plan(make.request(num_frames=total), model)

    assert sum(segment.kept_frames for segment in segments) == total
    lengths = {segment.request.num_frames for segment in segments}
    assert all(length in model.frames and length <= model.clip_frames for length in lengths)  # type: ignore[operator]
    assert max(lengths) - min(lengths) <= step
    assert [segment.number for segment in segments] == list(range(segments[0].of))
    assert [segment.next_overlap for segment in segments[:-1]] == [
        segment.overlap for segment in segments[1:]
    ]
    assert all(segment.request.num_frames > segment.overlap for segment in segments)


def test_every_segment_has_a_seed_of_its_own() -> None:
    segments = plan(make.request(num_frames=721, seed=MAX_SEED - 1), card())

    assert [segment.request.seed for segment in segments[:3]] == [MAX_SEED - 1, MAX_SEED, 0]


def test_prompts_are_spread_over_the_segments() -> None:
    request = make.request(num_frames=721, prompt="A fox.", prompts=["It runs.", "It sleeps."])

    told = [segment.request.prompt for segment in plan(request, card(overlap=9))]

    assert told == ["A fox. It runs."] * 4 + ["A fox. It sleeps."] * 3


def test_a_segment_begins_where_the_last_one_hands_over() -> None:
    segments = plan(make.request(num_frames=721), card(overlap=9))

    for before, after in pairwise(segments):
        assert after.start + after.overlap == before.start + before.request.num_frames
    assert segments[0].start == 0
    assert segments[-1].start + segments[-1].request.num_frames == 721
