"""Long videos by the real diffusers classes: what a crash leaves is gone on with."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.artifacts.files import Files
from service.domain.attempt import Profile, Stage, Ticket
from service.domain.models.catalog import CARDS
from service.domain.request import VideoRequest
from service.workers.adapters.base import Conditions, Frame, OnStep
from service.workers.adapters.diffusion import DiffusionAdapter
from service.workers.recipe import WorkerEnvironment, make_video
from tests import make
from tests.tiny import BUILD
from tests.workers.clips import frames_only
from tests.workers.models import loaded, request_of

pytestmark = pytest.mark.slow

LONG = ["ltx-2b", "ltx-13b", "wan2.2-5b"]  # of each way to begin a segment one


class Counted:
    """The model itself, which dies in the middle of a segment where that was asked for."""

    def __init__(self, model: DiffusionAdapter, dies_in: int | None = None) -> None:
        self.model = model
        self.dies_in = dies_in
        self.made = 0

    gpu = None
    made_with: dict[str, str] = {}  # noqa: RUF012 - never written

    def load(self, profile: Profile = Profile.FULL) -> None: ...

    @frames_only
    def generate(
        self, request: VideoRequest, conditions: Conditions, on_step: OnStep
    ) -> Iterator[Frame]:
        def step(stage: Stage, done: int, of: int) -> None:
            if self.made - 1 == self.dies_in and done == 2:
                raise KeyboardInterrupt
            on_step(stage, done, of)

        self.made += 1
        yield from self.model.generate(request, conditions, step).frames


def attempt(ticket: Ticket, adapter: Counted, folder: Path, fence: int) -> bytes:
    """The video that it makes."""
    artifacts, scratch = Files(folder / "artifacts"), folder / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    bench, prefix = WorkerEnvironment(artifacts, scratch), f"jobs/{ticket.job_id}/{fence}"
    outcome = make_video(ticket, adapter, bench, prefix, lambda *_: None)
    video = artifacts.path(outcome.facts.video.key)
    assert video is not None
    return video.read_bytes()


@pytest.mark.parametrize("model", LONG)
def test_a_crash_costs_one_segment_and_changes_nothing(model: str, tmp_path: Path) -> None:
    adapter, step = loaded(model, BUILD[model](tmp_path / "weights")), CARDS[model].frames.step
    # Three frames of latents at once, of which one is shown again: four segments.
    card = CARDS[model].model_copy(update={"clip_frames": 2 * step + 1, "overlap": 1 + step})
    request = request_of(model, num_frames=5 * step + 1, fps=24)
    ticket = make.ticket(request=request, card=card)
    whole, dying, going_on = Counted(adapter), Counted(adapter, dies_in=2), Counted(adapter)
    video = attempt(ticket, whole, tmp_path / "whole", 2)
    with pytest.raises(KeyboardInterrupt):
        attempt(ticket, dying, tmp_path / "crashed", 2)

    resumed = attempt(ticket, going_on, tmp_path / "crashed", 4)

    assert (whole.made, dying.made, going_on.made) == (4, 3, 2)
    assert resumed == video
