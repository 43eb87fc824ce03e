"""One attempt from ticket to stored video: the order of its stages."""

import logging
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from service.domain.artifact import ARTIFACT_RULES, CAPTION_RULES, ArtifactRule, Variant
from service.domain.attempt import ArtifactStore, LipSync, Outcome, Stage, Ticket, VideoFacts
from service.domain.avatar import AvatarRequest
from service.domain.request import JobRequest, VideoRequest
from service.domain.resolve.segments import Segment, plan
from service.workers.adapters.base import Adapter, Audio, Conditions, OnStep, Speech
from service.workers.checkpoints import Checkpoints
from service.workers.stages.avatar import prepare_avatar
from service.workers.stages.check import check, loop_seam
from service.workers.stages.encode import EncodedVideo
from service.workers.stages.encode_ahead import CheckCancel
from service.workers.stages.fetch import Sources
from service.workers.stages.generate import SegmentClip, SegmentRenderer
from service.workers.stages.preprocess import preprocess, remaining_media
from service.workers.stages.sound import add_sound
from service.workers.stages.stills import frame_at, write_last_frame, write_thumbnail
from service.workers.stages.stitch import join
from service.workers.stages.upload import upload, upload_manifest
from service.workers.stopwatch import Stopwatch
from service.workers.syncnet import SyncNet, SyncNetFailed

log = logging.getLogger(__name__)

_SYNCNET_FAILED = "SyncNet could not score the lips, so envelope did; the worker's log says why"


@dataclass(frozen=True)
class WorkerEnvironment:
    """A worker's surroundings: the artifact store, a scratch folder and the sources of inputs."""

    artifacts: ArtifactStore
    scratch: Path
    sources: Sources = field(default_factory=Sources)
    # Memory for frames that wait to be encoded: about five seconds of 720p.
    ahead_bytes: int = 512 << 20
    syncnet: SyncNet | None = None  # else lips are scored by `envelope`


def make_video(
    ticket: Ticket,
    adapter: Adapter,
    environment: WorkerEnvironment,
    prefix: str,
    on_step: OnStep,
    watch: Stopwatch | None = None,
) -> Outcome:
    """Preprocess inputs, load the model, generate, encode, check and store a video under `prefix`.

    A long video is made segment by segment; segments of earlier attempts are reused. Stages are
    timed by `watch`, a new one by default. Raises AttemptFailed, or Lost on a stale fencing token.
    """
    watch = watch or Stopwatch()
    artifacts, steps = environment.artifacts, _Steps(on_step)
    with ExitStack() as stack:
        scratch = Path(
            stack.enter_context(
                # A stored video is not lost because temporary files cannot be deleted.
                tempfile.TemporaryDirectory(
                    prefix="attempt-", dir=environment.scratch, ignore_cleanup_errors=True
                )
            )
        )
        # Before the model is loaded: an unreadable input must not cost a cold start.
        with watch.time("preprocess"):
            ticket, avatar = _with_speech(ticket, environment, scratch, steps)
        checkpoints = Checkpoints(ticket, artifacts, prefix, scratch)
        segments = plan(ticket.request, ticket.card)
        clips = checkpoints.load(segments)
        with watch.time("preprocess"):
            conditions = avatar or _conditions(
                ticket, segments[len(clips)], environment, scratch, steps
            )
        with watch.time("load"):
            steps(Stage.LOAD, 0, 1)
            adapter.load(ticket.profile)
        renderer = SegmentRenderer(
            adapter=adapter,
            conditions=conditions,
            scratch=scratch,
            provenance=provenance(ticket),
            watch=watch,
            on_step=steps,
            ahead_bytes=environment.ahead_bytes,
            stack=stack,
        )
        with checkpoints:
            for segment in segments[len(clips) :]:
                clip = renderer.render(segment, clips[-1] if clips else None)
                clips = [*(earlier.without_continuation() for earlier in clips), clip]
                with watch.time("upload"):
                    checkpoints.save(segment, clip, steps.check_cancel)
        made_with, gpu = adapter.made_with, adapter.gpu
        watch.release_model()
        with watch.time("encode"):
            steps(Stage.ENCODE, 0, 1)
            target = scratch / ARTIFACT_RULES["video"].file
            video = _finish_video(clips, ticket, target, steps.check_cancel)
            has_audio = clips[-1].audio is not None
            check(video.path, ticket.request.shape, has_audio=has_audio)
            measures = _measures(video.path, ticket.request, conditions, steps, environment.syncnet)
            steps(Stage.ENCODE, 1, 1)
        with watch.time("upload"):
            steps(Stage.UPLOAD, 0, 1)
            facts = _upload_all(video, ticket, artifacts, prefix, has_audio=has_audio)
        seams = tuple(clip.difference for clip in clips if clip.difference is not None)
        facts = facts.model_copy(
            update={
                "seams": seams,
                "made_with": made_with,
                "warnings": conditions.warnings,
                **measures,
            }
        )
        outcome = _outcome(facts, gpu, watch)
        upload_manifest(artifacts, prefix, outcome, scratch)
        if len(segments) > 1:
            checkpoints.discard()
    return outcome


def _with_speech(
    ticket: Ticket, environment: WorkerEnvironment, scratch: Path, on_step: OnStep
) -> tuple[Ticket, Conditions | None]:
    """Return the ticket of an avatar with its number of frames, and the conditions of all its
    clips; the ticket of a video unchanged."""
    if not isinstance(ticket.request, AvatarRequest):
        return ticket, None
    request, conditions = prepare_avatar(
        ticket,
        environment.artifacts,
        environment.sources,
        scratch,
        on_step,
    )
    return ticket.model_copy(update={"request": request}), conditions


def _conditions(
    ticket: Ticket,
    segment: Segment,
    environment: WorkerEnvironment,
    scratch: Path,
    on_step: OnStep,
) -> Conditions:
    """Preprocess the inputs of a video's `segment` and those behind it."""
    assert isinstance(ticket.request, VideoRequest), "an avatar has its conditions"
    media = remaining_media(ticket.request, segment)
    return preprocess(ticket, media, environment.artifacts, environment.sources, scratch, on_step)


def _measures(
    video: Path,
    request: JobRequest,
    conditions: Conditions,
    steps: "_Steps",
    syncnet: SyncNet | None,
) -> dict[str, Any]:
    """Return what is measured on the finished video of an avatar, or of a loop."""
    if conditions.speech is not None:
        speech, total = conditions.speech, request.shape.num_frames
        if syncnet is None:
            return {"lip_sync": _score_by_envelope(video, total, speech, steps)}
        try:
            return {"lip_sync": syncnet.score(video, total, video.parent, steps.check_cancel)}
        except SyncNetFailed as failure:
            log.warning("SyncNet failed", extra={"reason": failure.message})
            return {
                "lip_sync": _score_by_envelope(video, total, speech, steps),
                "warnings": (*conditions.warnings, _SYNCNET_FAILED),
            }
    if isinstance(request, VideoRequest) and request.loop:
        return {"loop_seam": loop_seam(video, request.shape)}
    return {}


def _score_by_envelope(video: Path, total: int, speech: Speech, on_step: OnStep) -> LipSync:
    from service.workers.puppet.lip_sync import score

    def on_frame(number: int) -> None:
        on_step(Stage.ENCODE, number, total)

    return score(video, speech.samples, on_frame)


class _Steps:
    """Reports steps to `on_step`, and repeats the last one to check for cancellation."""

    def __init__(self, on_step: OnStep) -> None:
        self._on_step = on_step
        self._last = (Stage.PREPROCESS, 0, 1)

    def __call__(self, stage: Stage, step: int, total: int) -> None:
        self._last = (stage, step, total)
        self._on_step(stage, step, total)

    def check_cancel(self) -> None:
        self._on_step(*self._last)


def provenance(ticket: Ticket) -> dict[str, Any]:
    """Return the metadata that is embedded in the video."""
    card, request = ticket.card, ticket.request
    facts: dict[str, Any] = {
        "generator": "Rushes",
        "job_id": ticket.job_id,
        "model": card.name,
        "revision": [f"{source.repo}@{source.revision}" for source in card.weights],
        "seed": request.seed,
    }
    if card.sandbox:
        return {**facts, "sandbox": True, "note": "sandbox: a drawn placeholder, nothing generated"}
    return {**facts, "ai_generated": True, "note": "AI-generated"}


def _finish_video(
    clips: list[SegmentClip], ticket: Ticket, target: Path, check_cancel: CheckCancel
) -> EncodedVideo:
    """Join the segments into the video, and return it with the frames of its stills."""
    encoding = clips[-1].encoding
    assert encoding is not None, "the last segment was made by this attempt"
    video = encoding.result(check_cancel)
    shape, facts = ticket.request.shape, provenance(ticket)
    if len(clips) > 1:
        whole = target.with_suffix(".silent.mp4")
        join([clip.video for clip in clips], whole, shape.fps, facts)
        middle = frame_at(whole, shape.num_frames // 2, shape)
        video = EncodedVideo(whole, middle, video.last)
    sound = [clip.audio.samples for clip in clips if clip.audio is not None]
    if sound:
        add_sound(video.path, Audio(np.concatenate(sound)), shape, target, facts)
        return replace(video, path=target)
    return replace(video, path=video.path.rename(target))


def _upload_all(
    video: EncodedVideo, ticket: Ticket, artifacts: ArtifactStore, prefix: str, *, has_audio: bool
) -> VideoFacts:
    scratch, shape = video.path.parent, ticket.request.shape
    write_thumbnail(video.middle, scratch / ARTIFACT_RULES["thumbnail"].file)
    write_last_frame(video.last, scratch / ARTIFACT_RULES["last_frame"].file)
    return VideoFacts(
        artifacts={
            variant: upload(artifacts, prefix, scratch / rule.file, rule.media_type)
            for variant, rule in _rules(ticket.request).items()
            if (scratch / rule.file).exists()
        },
        width=shape.width,
        height=shape.height,
        fps=shape.fps,
        num_frames=shape.num_frames,
        has_audio=has_audio,
        sandbox=ticket.card.sandbox,
    )


def _rules(request: JobRequest) -> dict[Variant, ArtifactRule]:
    if not isinstance(request, AvatarRequest) or request.captions is None:
        return ARTIFACT_RULES
    return {**ARTIFACT_RULES, "captions": CAPTION_RULES[request.captions.format]}


def _outcome(facts: VideoFacts, gpu: str | None, watch: Stopwatch) -> Outcome:
    return Outcome(
        facts=facts,
        timings_ms=watch.milliseconds(),
        gpu=gpu,
        gpu_seconds=watch.gpu_seconds() if gpu else 0.0,
    )
