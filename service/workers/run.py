"""One attempt from ticket to finished video: the recipe, and nothing of how each step is done."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.domain.attempt import Outcome, Stage, Ticket, VideoFacts
from service.domain.ports import ArtifactStore
from service.workers.adapters.base import NOTHING, Adapter, OnStep
from service.workers.stages.check import check
from service.workers.stages.encode import Encoded, encode
from service.workers.stages.stills import write_last_frame, write_thumbnail
from service.workers.stages.upload import upload, upload_manifest
from service.workers.stopwatch import Stopwatch


@dataclass(frozen=True)
class Bench:
    """Where a worker works: what it finishes is kept in one place, what it tries in another."""

    artifacts: ArtifactStore
    scratch: Path


def make_video(
    ticket: Ticket, adapter: Adapter, bench: Bench, prefix: str, on_step: OnStep
) -> Outcome:
    """Load, generate, encode, check and keep one video under `prefix`.

    Raises AttemptFailed when there is no video, Lost when the attempt is no longer ours.
    """
    watch = Stopwatch()
    artifacts = bench.artifacts
    with tempfile.TemporaryDirectory(prefix="attempt-", dir=bench.scratch) as folder:
        scratch = Path(folder)
        with watch.time("load"):
            on_step(Stage.LOAD, 0, 1)
            adapter.load()
        frames = watch.timed("generate", adapter.generate(ticket.request, NOTHING, on_step))
        with watch.time("encode"):
            encoded = encode(frames, ticket.request, scratch / "video.mp4", provenance(ticket))
            on_step(Stage.ENCODE, 1, 1)
            check(encoded.path, ticket.request)
        with watch.time("upload"):
            on_step(Stage.UPLOAD, 0, 1)
            facts = _keep(encoded, ticket, artifacts, prefix, adapter.made_with)
        outcome = _outcome(facts, adapter, watch)
        upload_manifest(artifacts, prefix, outcome, scratch)
    return outcome


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


def _keep(
    encoded: Encoded,
    ticket: Ticket,
    artifacts: ArtifactStore,
    prefix: str,
    made_with: dict[str, str],
) -> VideoFacts:
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
        made_with=made_with,
    )


def _outcome(facts: VideoFacts, adapter: Adapter, watch: Stopwatch) -> Outcome:
    return Outcome(
        facts=facts,
        timings_ms=watch.milliseconds(),
        gpu=adapter.gpu,
        gpu_seconds=watch.total() if adapter.gpu else 0.0,
    )
