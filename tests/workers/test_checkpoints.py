"""Long videos: made in segments, and gone on with after a crash where the last attempt stopped."""

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

from service.artifacts.files import Files
from service.domain.attempt import Artifact, AttemptFailed, Outcome, Profile, Stage, Ticket
from service.domain.errors import StorageFull, Unavailable
from service.domain.media import MediaRef
from service.domain.models.catalog import SLATE
from service.domain.request import PlacedImage, VideoRequest
from service.domain.resolve.segments import Segment, plan
from service.workers.adapters.base import Clip, Conditions, Frame, OnStep
from service.workers.recipe import WorkerEnvironment, make_video
from service.workers.stages.generate import SegmentClip, SegmentRenderer, own_keyframes
from service.workers.stages.stills import frame_at
from tests import make
from tests.workers.clips import frames_only
from tests.workers.inputs.pictures import gradient, saved

# Five frames at once, two of them shared: twelve frames are four segments.
CARD = SLATE.model_copy(update={"clip_frames": 5, "overlap": 2})
FRAMES = 12
ASK = make.request(width=96, height=64, fps=12, num_frames=FRAMES, seed=7)


class Drifting:
    """Draws grey frames: each a little lighter than the one before, from a level that hangs on
    seed and prompt, or on where the clip before ended. Each segment adds a drift of its own."""

    gpu = None
    made_with: dict[str, str] = {}  # noqa: RUF012 - never written

    def __init__(self, dies_in: int = -1) -> None:
        self.asked: list[VideoRequest] = []
        self.given: list[tuple[bool, list[int], bool, bool]] = []
        self.dies_in = dies_in

    def load(self, profile: Profile = Profile.FULL) -> None: ...

    @frames_only
    def generate(
        self, request: VideoRequest, conditions: Conditions, on_step: OnStep
    ) -> Iterator[Frame]:
        self.asked.append(request)
        self.given.append(
            (
                conditions.image is not None,
                [frame for frame, _ in conditions.keyframes],
                conditions.last_image is not None,
                conditions.tail is not None,
            )
        )
        begin = 20 + request.seed + len(request.prompt)
        if conditions.tail is not None:
            begin = int(conditions.tail[0, 0, 0, 0]) + 6
        for index in range(request.num_frames):
            if len(self.asked) - 1 == self.dies_in and index == 3:
                raise KeyboardInterrupt  # as sudden as a kill: nothing is tidied up
            on_step(Stage.GENERATE, index + 1, request.num_frames)
            level = begin + 2 * index
            yield np.full((request.height, request.width, 3), level, dtype=np.uint8)


@pytest.fixture
def artifacts(tmp_path: Path) -> Files:
    return Files(tmp_path / "artifacts")


def attempt(
    artifacts: Files, adapter: Drifting, fence: int = 2, *, ticket: Ticket | None = None
) -> Outcome:
    scratch = artifacts._root.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    ticket = ticket or make.ticket(request=ASK, card=CARD)
    prefix = f"jobs/{ticket.job_id}/{fence}"
    return make_video(
        ticket, adapter, WorkerEnvironment(artifacts, scratch), prefix, lambda *_: None
    )


def levels(artifacts: Files, outcome: Outcome) -> list[int]:
    video = artifacts.path(outcome.facts.video.key)
    assert video is not None
    return [int(frame_at(video, n, ASK)[32, 48, 1]) for n in range(outcome.facts.num_frames)]


def test_a_long_video_has_every_frame_and_its_seams_are_measured(artifacts: Files) -> None:
    adapter = Drifting()

    outcome = attempt(artifacts, adapter)

    assert [asked.num_frames for asked in adapter.asked] == [5, 5, 4, 4]
    assert [asked.seed for asked in adapter.asked] == [7, 8, 9, 10]
    assert outcome.facts.num_frames == FRAMES
    assert outcome.facts.seams == (6.0, 6.0, 6.0)
    shown = levels(artifacts, outcome)
    # Two levels a frame, and the drift of six spread over the two frames of each seam.
    drawn = [36, 38, 40, 44, 48, 52, 56, 60, 64, 68, 72, 74]
    assert np.allclose(shown, drawn, atol=4)


class Anchored(Drifting):
    """Each segment after the first has the level that the first one returned as its anchor."""

    def generate(self, request: VideoRequest, conditions: Conditions, on_step: OnStep) -> Clip:
        clip = super().generate(request, conditions, on_step)
        anchor = np.array([[request.seed * 3.25]], np.float32)
        if conditions.anchor is None:
            return Clip(clip.frames, anchor=lambda: anchor)
        level = np.uint8(conditions.anchor[0, 0])
        return Clip(
            (np.full_like(frame, level) for frame in clip.frames),
            anchor=lambda: conditions.anchor,  # type: ignore[arg-type,return-value]
        )


def test_what_a_model_keeps_of_the_first_segment_is_there_after_a_crash(
    artifacts: Files, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        attempt(artifacts, Anchored(dies_in=2), fence=2)
    again = Anchored()

    outcome = attempt(artifacts, again, fence=4)

    assert [asked.seed for asked in again.asked] == [9, 10]
    whole = attempt(Files(tmp_path / "other"), Anchored())
    assert levels(artifacts, outcome) == levels(Files(tmp_path / "other"), whole)
    assert abs(levels(artifacts, outcome)[-1] - 22) < 3  # 7 * 3.25, of the first segment


def test_a_crash_in_a_segment_costs_that_segment_alone(artifacts: Files, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        attempt(artifacts, Drifting(dies_in=2), fence=2)
    again = Drifting()

    outcome = attempt(artifacts, again, fence=4)

    assert [asked.seed for asked in again.asked] == [9, 10]
    whole = attempt(Files(tmp_path / "other"), Drifting())
    assert levels(artifacts, outcome) == levels(Files(tmp_path / "other"), whole)
    assert outcome.facts.seams == whole.facts.seams
    assert outcome.facts.video.key.startswith(f"jobs/{make.ticket().job_id}/4/")


def test_segments_of_several_attempts_are_put_together(artifacts: Files) -> None:
    for fence, dies_in in ((2, 1), (4, 1), (6, 1)):
        with pytest.raises(KeyboardInterrupt):
            attempt(artifacts, Drifting(dies_in=dies_in), fence)
    last = Drifting()

    attempt(artifacts, last, 8)

    assert [asked.seed for asked in last.asked] == [10]


@pytest.mark.parametrize("harm", ["video", "tail", "manifest", "gone"])
def test_a_segment_that_is_not_whole_is_made_again(artifacts: Files, harm: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        attempt(artifacts, Drifting(dies_in=2))
    name = {"video": "1.mp4", "tail": "1.npy", "manifest": "1.json", "gone": "1.npy"}[harm]
    harmed = artifacts._root / "jobs" / make.ticket().job_id / "2" / "segments" / name
    if harm == "gone":
        harmed.unlink()
    else:
        harmed.write_bytes(b"x" * 100)
    again = Drifting()

    attempt(artifacts, again, fence=4)

    assert [asked.seed for asked in again.asked] == [8, 9, 10]


@pytest.mark.parametrize(
    "ticket",
    [
        make.ticket(request=ASK.model_copy(update={"prompt": "another"}), card=CARD),
        make.ticket(request=ASK.model_copy(update={"seed": 8}), card=CARD),
        make.ticket(request=ASK, card=CARD.model_copy(update={"name": "other"})),
    ],
    ids=["prompt", "seed", "model"],
)
def test_segments_of_another_request_are_not_used(artifacts: Files, ticket: Ticket) -> None:
    with pytest.raises(KeyboardInterrupt):
        attempt(artifacts, Drifting(dies_in=3))
    again = Drifting()

    attempt(artifacts, again, fence=4, ticket=ticket)

    assert len(again.asked) == 4


def test_the_segments_go_once_the_video_is_there(artifacts: Files) -> None:
    outcome = attempt(artifacts, Drifting())

    folder = outcome.facts.video.key.rpartition("/")[0]
    assert artifacts.children(folder) == [
        "last_frame.png", "manifest.json", "thumbnail.jpg", "video.mp4"
    ]  # fmt: skip


def test_progress_counts_the_steps_of_all_segments(artifacts: Files) -> None:
    steps: list[tuple[Stage, int, int]] = []
    scratch = artifacts._root.parent / "scratch"
    scratch.mkdir()
    ticket = make.ticket(request=ASK, card=CARD)

    make_video(
        ticket,
        Drifting(),
        WorkerEnvironment(artifacts, scratch),
        f"jobs/{ticket.job_id}/2",
        lambda *step: steps.append(step),
    )

    shares = [done / of for stage, done, of in steps if stage is Stage.GENERATE]
    assert shares == sorted(shares)
    assert (shares[0] < 0.1, shares[-1]) == (True, 1.0)


def test_a_segment_is_kept_while_the_next_is_made(artifacts: Files) -> None:
    """The model does not wait for what is encoded and kept."""
    second = Event()

    class Slow(Files):
        def put(self, key: str, path: Path, media_type: str) -> Artifact:
            if key.endswith("/segments/0.mp4"):
                assert second.wait(30)
            return super().put(key, path, media_type)

    class Told(Drifting):
        @frames_only
        def generate(
            self, request: VideoRequest, conditions: Conditions, on_step: OnStep
        ) -> Iterator[Frame]:
            yield from super().generate(request, conditions, on_step).frames
            if len(self.asked) == 2:
                second.set()

    outcome = attempt(Slow(artifacts._root), Told())

    assert outcome.facts.num_frames == FRAMES


def test_a_segment_that_cannot_be_kept_ends_the_attempt(artifacts: Files) -> None:
    class Full(Files):
        def put(self, key: str, path: Path, media_type: str) -> Artifact:
            if key.endswith("/segments/1.npy"):
                raise StorageFull("as planned")
            return super().put(key, path, media_type)

    adapter = Drifting()

    with pytest.raises(StorageFull, match="as planned"):
        attempt(Full(artifacts._root), adapter)

    assert len(adapter.asked) == 3  # the third was made meanwhile, and no fourth


def test_a_keyframe_is_shown_by_the_first_segment_that_it_is_in() -> None:
    """By that segment's own count; the next one continues what it made of it."""
    segments = plan(ASK, CARD)
    picture = np.zeros((ASK.height, ASK.width, 3), np.uint8)
    keyframes = tuple((frame, picture) for frame in range(1, ASK.num_frames))

    found = [
        (segment.start + own, segment.overlap <= own < segment.request.num_frames)
        for segment in segments
        for own, _ in own_keyframes(keyframes, segment)
    ]

    assert [frame for frame, _ in found] == list(range(1, ASK.num_frames))
    assert all(inside for _, inside in found)


WITH_PICTURES = ASK.model_copy(
    update={
        "image": MediaRef(source="upload"),
        "last_image": MediaRef(source="upload"),
        "keyframes": [PlacedImage(frame=6, image=MediaRef(source="upload"))],
        "fit": "crop",
    }
)
PICTURES = ("image", "last_image", "keyframes/0/image")
# Each follows what is its own: first frame, frames on the way by its own count, last frame, tail.
FOLLOWED = [
    (True, [], False, False),
    (False, [3], False, True),
    (False, [], False, True),
    (False, [], True, True),
]


def keep_pictures(artifacts: Files, folder: Path) -> Ticket:
    ticket = make.ticket(request=WITH_PICTURES, card=CARD)
    for role in PICTURES:
        (folder / "a").write_bytes(saved(gradient(), "PNG"))
        artifacts.put(f"inputs/{ticket.job_id}/{role}", folder / "a", "image/png")
    return ticket


def test_each_segment_follows_what_is_its_own(artifacts: Files, tmp_path: Path) -> None:
    model = Drifting()

    attempt(artifacts, model, ticket=keep_pictures(artifacts, tmp_path))

    assert model.given == FOLLOWED


def test_what_only_finished_segments_followed_may_be_gone(artifacts: Files, tmp_path: Path) -> None:
    """As a URL may lead nowhere by then."""
    ticket = keep_pictures(artifacts, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        attempt(artifacts, Drifting(dies_in=2), ticket=ticket)
    for role in ("image", "keyframes/0/image"):
        artifacts.delete(f"inputs/{ticket.job_id}/{role}")
    again = Drifting()

    attempt(artifacts, again, fence=4, ticket=ticket)

    assert again.given == FOLLOWED[2:]


def test_what_a_segment_still_to_come_follows_must_be_there(
    artifacts: Files, tmp_path: Path
) -> None:
    ticket = keep_pictures(artifacts, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        attempt(artifacts, Drifting(dies_in=2), ticket=ticket)
    artifacts.delete(f"inputs/{ticket.job_id}/last_image")

    with pytest.raises(AttemptFailed) as caught:
        attempt(artifacts, Drifting(), fence=4, ticket=ticket)

    assert caught.value.code == "input_gone"


LOOP = ASK.model_copy(
    update={"image": MediaRef(source="upload"), "loop": True, "fit": "crop"},
)


@pytest.mark.parametrize("dies_in", [None, 2])
def test_a_long_loop_ends_with_its_first_image_also_in_another_attempt(
    artifacts: Files, tmp_path: Path, dies_in: int | None
) -> None:
    ticket = make.ticket(request=LOOP, card=CARD)
    (tmp_path / "a").write_bytes(saved(gradient(), "PNG"))
    artifacts.put(f"inputs/{ticket.job_id}/image", tmp_path / "a", "image/png")
    if dies_in is not None:
        with pytest.raises(KeyboardInterrupt):
            attempt(artifacts, Drifting(dies_in=dies_in), ticket=ticket)
    model = Drifting()

    outcome = attempt(artifacts, model, fence=4, ticket=ticket)

    first_images, _, last_images, _ = zip(*model.given, strict=True)
    assert list(first_images) == [dies_in is None, *[False] * (len(first_images) - 1)]
    assert list(last_images) == [*[False] * (len(last_images) - 1), True]
    assert outcome.facts.loop_seam is not None
    # It drifts by two levels a frame, and never comes back.
    assert outcome.facts.loop_seam.difference > outcome.facts.loop_seam.neighbours


def test_of_the_segments_before_no_frames_are_held(
    artifacts: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory does not grow with the length of a video."""
    held: list[int] = []
    render = SegmentRenderer.render
    tails: list[weakref.ref[Any]] = []

    def watched(self: SegmentRenderer, segment: Segment, before: SegmentClip | None) -> SegmentClip:
        gc.collect()
        held.append(sum(tail() is not None for tail in tails))
        part = render(self, segment, before)
        if part.tail is not None:
            tails.append(weakref.ref(part.tail))
        return part

    monkeypatch.setattr(SegmentRenderer, "render", watched)

    attempt(artifacts, Drifting())

    # Of the one before, and of the one that is being kept.
    assert len(held) == 4
    assert max(held) <= 2


def test_a_video_is_whole_before_its_segments_go(
    artifacts: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("service.workers.recipe.upload_manifest", crash)
    with pytest.raises(KeyboardInterrupt):
        attempt(artifacts, Drifting())
    monkeypatch.undo()
    again = Drifting()

    attempt(artifacts, again, fence=4)

    assert [asked.seed for asked in again.asked] == [10]


@pytest.mark.parametrize("fault", [Unavailable("as planned"), OSError("as planned")], ids=repr)
def test_segments_that_cannot_be_deleted_cost_no_video(
    artifacts: Files, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def refuse(prefix: str) -> None:
        raise fault

    monkeypatch.setattr(artifacts, "delete", refuse)

    outcome = attempt(artifacts, Drifting())

    folder = outcome.facts.video.key.rpartition("/")[0]
    assert "segments" in artifacts.children(folder)


def test_a_video_of_one_segment_looks_for_none(
    artifacts: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Modal each look, and each deletion, is a trip that a GPU is paid for."""

    def looked(prefix: str) -> Any:
        raise AssertionError(prefix)

    for name in ("children", "delete"):
        monkeypatch.setattr(artifacts, name, looked)

    short = make.ticket(request=ASK.model_copy(update={"num_frames": 5}), card=CARD)

    assert attempt(artifacts, Drifting(), ticket=short).facts.num_frames == 5
