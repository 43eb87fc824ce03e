"""One attempt from ticket to finished video: the recipe, and nothing of how each step is done."""

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from service.domain.attempt import Outcome, Stage, Ticket, VideoFacts
from service.domain.ports import ArtifactStore
from service.domain.resolve.segments import plan
from service.workers.adapters.base import Adapter, OnStep
from service.workers.checkpoints import Checkpoints
from service.workers.stages.check import check
from service.workers.stages.encode import Encoded
from service.workers.stages.encode_ahead import Heed
from service.workers.stages.fetch import Sources
from service.workers.stages.generate import Part, SegmentRenderer
from service.workers.stages.preprocess import needed, preprocess
from service.workers.stages.stills import frame_at, write_last_frame, write_thumbnail
from service.workers.stages.stitch import join
from service.workers.stages.upload import upload, upload_manifest
from service.workers.stopwatch import Stopwatch


@dataclass(frozen=True)
class WorkerEnvironment:
    """Where a worker works: what it finishes is kept in one place, what it tries in another."""

    artifacts: ArtifactStore
    scratch: Path
    sources: Sources = field(default_factory=Sources)
    # Memory for frames that are made and not yet encoded: about five seconds of 720p.
    ahead_bytes: int = 512 << 20


def make_video(
    ticket: Ticket,
    adapter: Adapter,
    bench: WorkerEnvironment,
    prefix: str,
    on_step: OnStep,
    watch: Stopwatch | None = None,
) -> Outcome:
    """Bring what it begins with, load, generate, encode, check and keep a video under `prefix`;
    timed by `watch`, if that runs already.

    A long video is made segment by segment; those that an earlier attempt finished are not made
    again. Raises AttemptFailed when there is no video, Lost when the attempt is no longer ours.
    """
    watch = watch or Stopwatch()
    artifacts, steps = bench.artifacts, _Steps(on_step)
    with ExitStack() as until:
        scratch = Path(
            until.enter_context(
                # A video that is kept is not lost because its scraps cannot be deleted.
                tempfile.TemporaryDirectory(
                    prefix="attempt-", dir=bench.scratch, ignore_cleanup_errors=True
                )
            )
        )
        kept = Checkpoints(ticket, artifacts, prefix, scratch)
        segments = plan(ticket.request, ticket.card)
        parts = kept.found(segments)
        with watch.time("preprocess"):
            # Before the model: what cannot be read must not cost a cold start.
            wanted = needed(ticket.request, segments[len(parts)])
            conditions = preprocess(ticket, wanted, artifacts, bench.sources, scratch, steps)
        with watch.time("load"):
            steps(Stage.LOAD, 0, 1)
            adapter.load(ticket.profile)
        studio = SegmentRenderer(
            adapter=adapter,
            conditions=conditions,
            scratch=scratch,
            provenance=provenance(ticket),
            watch=watch,
            on_step=steps,
            ahead_bytes=bench.ahead_bytes,
            until=until,
        )
        with kept:
            for segment in segments[len(parts) :]:
                made = studio.make(segment, parts[-1] if parts else None)
                parts = [*(replace(part, tail=None, encoding=None) for part in parts), made]
                with watch.time("upload"):
                    kept.keep(segment, parts[-1], steps.check_cancel)
        made_with, gpu = adapter.made_with, adapter.gpu
        watch.let_model_go()
        with watch.time("encode"):
            steps(Stage.ENCODE, 0, 1)
            encoded = _joined(parts, ticket, scratch / "video.mp4", steps.check_cancel)
            steps(Stage.ENCODE, 1, 1)
            check(encoded.path, ticket.request)
        with watch.time("upload"):
            steps(Stage.UPLOAD, 0, 1)
            facts = _keep(encoded, ticket, artifacts, prefix)
        seams = tuple(part.difference for part in parts if part.difference is not None)
        facts = facts.model_copy(update={"seams": seams, "made_with": made_with})
        outcome = _outcome(facts, gpu, watch)
        upload_manifest(artifacts, prefix, outcome, scratch)
        if len(segments) > 1:
            kept.discard()
    return outcome


class _Steps:
    """Tells each step, and the last one again where we only wait: `on_step` is also who raises
    what ends an attempt."""

    def __init__(self, on_step: OnStep) -> None:
        self._on_step = on_step
        self._last = (Stage.PREPROCESS, 0, 1)

    def __call__(self, stage: Stage, done: int, of: int) -> None:
        self._last = (stage, done, of)
        self._on_step(stage, done, of)

    def check_cancel(self) -> None:
        self._on_step(*self._last)


def provenance(ticket: Ticket) -> dict[str, Any]:
    """What the file says of itself wherever it goes."""
    card, request = ticket.card, ticket.request
    said: dict[str, Any] = {
        "generator": "Rushes",
        "job_id": ticket.job_id,
        "model": card.name,
        "revision": [f"{source.repo}@{source.revision}" for source in card.weights],
        "seed": request.seed,
    }
    if card.sandbox:
        return {**said, "sandbox": True, "note": "sandbox: a drawn placeholder, nothing generated"}
    return {**said, "ai_generated": True, "note": "AI-generated"}


def _joined(parts: list[Part], ticket: Ticket, target: Path, check_cancel: Heed) -> Encoded:
    """The whole video, and the frames for its stills."""
    last = parts[-1].encoding
    assert last is not None, "the last segment is made by the attempt that ends the video"
    encoded = last.result(check_cancel)
    if len(parts) == 1:
        return replace(encoded, path=encoded.path.rename(target))
    join([part.video for part in parts], target, ticket.request.fps, provenance(ticket))
    middle = frame_at(target, ticket.request.num_frames // 2, ticket.request)
    return Encoded(target, middle, encoded.last)


def _keep(encoded: Encoded, ticket: Ticket, artifacts: ArtifactStore, prefix: str) -> VideoFacts:
    scratch, request = encoded.path.parent, ticket.request
    write_thumbnail(encoded.middle, scratch / "thumbnail.jpg")
    write_last_frame(encoded.last, scratch / "last_frame.png")
    return VideoFacts(
        video=upload(artifacts, prefix, encoded.path),
        thumbnail=upload(artifacts, prefix, scratch / "thumbnail.jpg"),
        last_frame=upload(artifacts, prefix, scratch / "last_frame.png"),
        width=request.width,
        height=request.height,
        fps=request.fps,
        num_frames=request.num_frames,
        sandbox=ticket.card.sandbox,
    )


def _outcome(facts: VideoFacts, gpu: str | None, watch: Stopwatch) -> Outcome:
    return Outcome(
        facts=facts,
        timings_ms=watch.milliseconds(),
        gpu=gpu,
        gpu_seconds=watch.spent() if gpu else 0.0,
    )
