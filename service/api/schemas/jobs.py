"""Response models of jobs."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field
from typing_extensions import TypeAliasType

from service.api.schemas.costs import Cost
from service.api.signed_links import SignedLinks
from service.domain.attempt import LipSync, LoopSeam, Profile, Stage
from service.domain.job import FallbackRecord, Job, JobError, JobState, ModelChoice
from service.domain.kinds import AnyRequest
from service.domain.models.card import ModelCard
from service.domain.request import JobKind, Priority


class Result(BaseModel):
    """The finished video. The URLs need no key and work until `expires_at`."""

    video_url: str
    thumbnail_url: str
    last_frame_url: str
    captions_url: str | None = Field(description="Where captions were requested.")
    expires_at: datetime
    content_type: str
    width: int
    height: int
    fps: int
    num_frames: int
    duration_seconds: float
    duration_ms: int
    has_audio: bool
    bytes: int
    sha256: str
    lip_sync: LipSync | None = Field(description="Of an avatar. Experimental.")
    loop_seam: LoopSeam | None = Field(description="Of a loop.")
    seams: list[float] | None = Field(
        description="Of a video made in segments: the mean difference of the overlapping frames "
        "at each seam, before they were blended, in levels of 0 to 255. Null without a seam."
    )
    warnings: list[str] = Field(description="What may look worse than it could, and why.")
    made_with: dict[str, str] = Field(
        description="How the model was run; equal values and an equal seed give equal frames."
    )

    @classmethod
    def from_domain(cls, job: Job, links: SignedLinks) -> Self | None:
        facts = job.result
        if facts is None or job.expires_at is None:
            return None
        return cls(
            video_url=links.content(job, "video"),
            thumbnail_url=links.content(job, "thumbnail"),
            last_frame_url=links.content(job, "last_frame"),
            captions_url=links.content(job, "captions") if "captions" in facts.artifacts else None,
            expires_at=job.expires_at,
            content_type=facts.video.media_type,
            width=facts.width,
            height=facts.height,
            fps=facts.fps,
            num_frames=facts.num_frames,
            duration_seconds=round(facts.duration_seconds, 6),
            duration_ms=duration_ms(job),
            has_audio=facts.has_audio,
            bytes=facts.video.size_bytes,
            sha256=facts.video.sha256,
            lip_sync=facts.lip_sync,
            loop_seam=facts.loop_seam,
            seams=[round(seam, 2) for seam in facts.seams] or None,
            warnings=list(facts.warnings),
            made_with=facts.made_with,
        )


class Urls(BaseModel):
    """Links to the job's routes; use these instead of building URLs."""

    self: str
    cancel: str
    retry: str
    events: str
    content: str
    thumbnail: str


class FallbackOut(BaseModel):
    """A model that may take the job over, and the request as it was resolved for it."""

    model: str
    input: AnyRequest
    expected_seconds: float = Field(description="On a warm worker, from begin to finish.")

    @classmethod
    def from_domain(cls, fallback: ModelChoice) -> Self:
        return cls(
            model=fallback.request.model,
            input=fallback.request,
            expected_seconds=round(fallback.expected_ms / 1000, 2),
        )


class JobOut(BaseModel):
    """The fields of every job; the subclasses below say which are set in each state."""

    id: str
    object: Literal["job"] = "job"
    job_id: str = Field(description="The same as `id`.")
    kind: JobKind
    model: str = Field(description="The model that is tried now, or that made the video.")
    profile: Profile = Field(description="`small`: in less memory, after an `oom`.")
    fallbacks: list[FallbackOut] = Field(description="Models to try if this one fails, in order.")
    fell_back: list[FallbackRecord] = Field(
        description="Models that have failed and why, in order."
    )
    sandbox: bool = Field(description="True when the model only draws a placeholder.")
    status: JobState
    stage: Stage | None = Field(description="The worker's current stage.")
    stage_detail: str | None = Field(
        description="The step of the stage; of a queued job, what its voice waits for."
    )
    progress: int = Field(ge=0, le=100, description="Percent, never decreasing; 100 on success.")
    queue_position: int | None = Field(
        description="Jobs ahead of this one; null when it is not queued."
    )
    eta_seconds: float | None = Field(
        description="Estimated seconds until the video is there; null while its model is paused."
    )
    priority: Priority
    attempts: int
    cancel_requested_at: datetime | None
    input: AnyRequest = Field(description="The request as it was resolved.")
    seed: int
    result: Result | None
    generation_time_ms: int | None = Field(description="From begin to finish on the worker.")
    timings_ms: dict[str, int] | None
    gpu: str | None
    cost: Cost
    error: JobError | None
    retry_of: str | None
    metadata: dict[str, str]
    webhook_url: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime | None = Field(description="Until when the video is kept.")
    urls: Urls

    @classmethod
    def from_domain(
        cls,
        job: Job,
        links: SignedLinks,
        *,
        card: ModelCard | None,
        position: int | None = None,
        eta_seconds: float | None = None,
    ) -> "JobOut":
        return _MODELS_BY_STATE[job.state](
            id=job.id,
            job_id=job.id,
            kind=job.request.kind,
            model=job.request.model,
            profile=job.profile,
            fallbacks=[FallbackOut.from_domain(fallback) for fallback in job.fallbacks],
            fell_back=list(job.fell_back),
            sandbox=card is not None and card.sandbox,
            status=job.state,
            stage=None if job.state.final else job.stage,
            stage_detail=None if job.state.final else job.stage_detail,
            progress=int(job.progress * 100),
            queue_position=position,
            eta_seconds=eta_seconds,
            priority=job.priority,
            attempts=job.attempt,
            cancel_requested_at=job.cancel_requested_at,
            input=job.request,
            seed=job.request.seed,
            result=Result.from_domain(job, links),
            generation_time_ms=generation_time_ms(job),
            timings_ms=job.timings_ms,
            gpu=job.gpu,
            cost=Cost(
                estimated_usd=job.estimated_usd,
                actual_usd=job.actual_usd,
                gpu_seconds=job.gpu_seconds,
                gpu=job.rate_gpu,
                usd_per_second=job.usd_per_second,
                rate_source=job.rate_source,
                speech=job.speech,
            ),
            error=job.error,
            retry_of=job.retry_of,
            metadata=job.metadata,
            webhook_url=job.webhook_url,
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
            expires_at=job.expires_at,
            urls=Urls(
                self=links.job(job.id),
                cancel=links.job(job.id, "/cancel"),
                retry=links.job(job.id, "/retry"),
                events=links.job(job.id, "/events"),
                content=links.job(job.id, "/content"),
                thumbnail=links.job(job.id, "/content?variant=thumbnail"),
            ),
        )


class OpenJob(JobOut):
    """A job that is queued, starting or running."""

    status: Literal[JobState.QUEUED, JobState.STARTING, JobState.RUNNING]


class SucceededJob(JobOut):
    """A job whose video is available."""

    status: Literal[JobState.SUCCEEDED]
    result: Result
    finished_at: datetime
    expires_at: datetime = Field(description="Until when the video is kept.")


class FailedJob(JobOut):
    """A job that failed; `error` says why."""

    status: Literal[JobState.FAILED]
    error: JobError
    finished_at: datetime


class CanceledJob(JobOut):
    """A job that was canceled."""

    status: Literal[JobState.CANCELED]
    cancel_requested_at: datetime
    finished_at: datetime


class ExpiredJob(JobOut):
    """A job that no worker started within `start_timeout_seconds`."""

    status: Literal[JobState.EXPIRED]
    finished_at: datetime


_MODELS_BY_STATE: dict[JobState, type[JobOut]] = {
    JobState.QUEUED: OpenJob,
    JobState.STARTING: OpenJob,
    JobState.RUNNING: OpenJob,
    JobState.SUCCEEDED: SucceededJob,
    JobState.FAILED: FailedJob,
    JobState.CANCELED: CanceledJob,
    JobState.EXPIRED: ExpiredJob,
}

# The response model of a job, discriminated by `status`.
AnyJob = TypeAliasType(
    "AnyJob",
    Annotated[
        OpenJob | SucceededJob | FailedJob | CanceledJob | ExpiredJob,
        Field(discriminator="status"),
    ],
)


def duration_ms(job: Job) -> int:
    """Length of the finished video, rounded to a millisecond."""
    assert job.result is not None, "only a finished job has a length"
    return round(job.result.duration_seconds * 1000)


def generation_time_ms(job: Job) -> int | None:
    return None if job.timings_ms is None else job.timings_ms.get("total")


class InlineVideo(BaseModel):
    """The response for `response_format: b64_json` when the job finished within the wait."""

    video: str = Field(description="The MP4 in base64.")
    duration_ms: int
    generation_time_ms: int


class InlineAvatar(InlineVideo):
    """An InlineVideo of an avatar."""

    lip_sync_score: float | None = Field(
        description="0 to 1; null where it cannot be told. Experimental."
    )


class JobList(BaseModel):
    """A page of jobs; continue with `?after=<last_id>` while `has_more`."""

    object: Literal["list"] = "list"
    data: list[AnyJob]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedObject(BaseModel):
    id: str
    object: Literal["job", "webhook_endpoint", "avatar", "voice"] = "job"
    deleted: Literal[True] = True


class SecondsRange(BaseModel):
    """The likely bounds of a length that is not known yet."""

    shortest: float
    longest: float


class Estimate(BaseModel):
    """A dry run of a submit: resolved input, cost and warnings. No job is created."""

    model: str
    sandbox: bool
    input: AnyRequest
    duration_seconds: float | None = Field(
        description="As requested, or as the header of `audio` says; null where only speaking or "
        "decoding tells."
    )
    duration_range_seconds: SecondsRange | None = Field(
        description="The shortest and longest that is likely, where `duration_seconds` is null."
    )
    expected_seconds: float = Field(description="On a warm worker, from begin to finish.")
    starts_in_seconds: float | None = Field(
        description="Until a worker would begin it, behind all that wait; null without a worker "
        "and while the model is paused."
    )
    fallbacks: list[FallbackOut] = Field(description="Models to try if this one fails, in order.")
    cost: Cost
    warnings: list[str]
