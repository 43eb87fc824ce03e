import hashlib
import json
from pathlib import Path

import pytest
from PIL import Image
from pydantic import ValidationError

from service.artifacts.files import Files
from service.domain.attempt import AttemptFailed, FailureKind, Outcome, Profile, Stage, VideoFacts
from service.domain.models.catalog import CARDS, LTX_2B, SLATE
from service.workers.adapters.registry import ADAPTERS, make_adapter
from service.workers.adapters.slate import Slate
from service.workers.recipe import WorkerEnvironment, make_video, provenance
from tests import make
from tests.workers.clips import frames_only


@pytest.fixture
def artifacts(tmp_path: Path) -> Files:
    return Files(tmp_path / "artifacts")


def bench(artifacts: Files) -> WorkerEnvironment:
    scratch = artifacts._root.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    return WorkerEnvironment(artifacts, scratch)


def image_size(path: Path | None) -> tuple[int, int]:
    assert path is not None
    with Image.open(path) as picture:
        return picture.size


def test_a_ticket_becomes_a_video_with_its_stills_and_manifest(artifacts: Files) -> None:
    asked = make.request(width=768, height=512, num_frames=6)
    steps: list[tuple[Stage, int, int]] = []

    outcome = make_video(
        make.ticket(request=asked),
        make_adapter(SLATE),
        bench(artifacts),
        "jobs/j/2",
        lambda *step: steps.append(step),
    )

    facts = outcome.facts
    assert (facts.width, facts.height, facts.fps, facts.num_frames) == (768, 512, 12, 6)
    assert facts.sandbox
    for artifact in facts.artifacts.values():
        path = artifacts.path(artifact.key)
        assert path is not None
        assert hashlib.sha256(path.read_bytes()).hexdigest() == artifact.sha256
        assert path.stat().st_size == artifact.size_bytes
    assert image_size(artifacts.path("jobs/j/2/thumbnail.jpg")) == (512, 341)
    assert image_size(artifacts.path("jobs/j/2/last_frame.png")) == (768, 512)
    manifest = artifacts.path("jobs/j/2/manifest.json")
    assert manifest is not None
    assert Outcome.model_validate_json(manifest.read_bytes()) == outcome
    assert [step for step in steps if step[0] is Stage.GENERATE][-1] == (Stage.GENERATE, 6, 6)
    assert set(outcome.timings_ms) == {
        *("preprocess", "load", "generate", "encode", "upload", "total")
    }


def test_a_cancel_in_the_middle_leaves_nothing_behind(artifacts: Files) -> None:
    def stop(stage: Stage, done: int, of: int) -> None:
        if (stage, done) == (Stage.GENERATE, 2):
            raise AttemptFailed(FailureKind.CANCELED, "canceled", "canceled on request")

    with pytest.raises(AttemptFailed, match="canceled on request"):
        make_video(make.ticket(), make_adapter(SLATE), bench(artifacts), "jobs/j/2", stop)

    assert artifacts.path("jobs/j/2/video.mp4") is None
    assert artifacts.path("jobs/j/2/manifest.json") is None
    assert list((artifacts._root.parent / "scratch").iterdir()) == []


def test_a_file_that_is_not_as_asked_is_never_kept(artifacts: Files) -> None:
    class Late:
        """Asks for another rate after ffmpeg was told the first."""

        gpu = None
        made_with: dict[str, str] = {}  # noqa: RUF012

        def load(self, profile: Profile = Profile.FULL) -> None: ...

        @frames_only
        def generate(self, request, conditions, on_step):  # type: ignore[no-untyped-def]
            yield from Slate(SLATE, None).generate(request, conditions, on_step).frames
            object.__setattr__(ticket.request, "fps", 24)

    ticket = make.ticket()

    with pytest.raises(AttemptFailed, match="lasts"):
        make_video(ticket, Late(), bench(artifacts), "jobs/j/2", lambda *_: None)

    assert artifacts.path("jobs/j/2/video.mp4") is None


def test_a_file_says_what_made_it(artifacts: Files) -> None:
    sandbox = provenance(make.ticket())
    real = provenance(make.ticket(card=LTX_2B, request=make.request(model="ltx-2b")))

    assert sandbox["sandbox"] is True
    assert "ai_generated" not in sandbox
    assert real["ai_generated"] is True
    assert any("Lightricks/LTX-Video@" in source for source in real["revision"])
    assert (real["seed"], real["model"]) == (7, "ltx-2b")
    assert "prompt" not in json.dumps(real)


def test_every_card_has_an_adapter() -> None:
    assert set(ADAPTERS) == set(CARDS)


def test_facts_of_an_earlier_release_are_read_with_their_artifacts(artifacts: Files) -> None:
    outcome = make_video(
        make.ticket(), make_adapter(SLATE), bench(artifacts), "jobs/j/2", lambda *_: None
    )
    earlier = outcome.facts.model_dump(mode="json")
    earlier |= earlier.pop("artifacts")

    assert VideoFacts.model_validate(earlier) == outcome.facts
    del earlier["thumbnail"]
    with pytest.raises(ValidationError, match="no thumbnail"):
        VideoFacts.model_validate(earlier)
