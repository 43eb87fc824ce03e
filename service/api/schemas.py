"""Wire shapes: what the API's answers look like. `from_domain` builds each from domain words."""

from datetime import date, datetime
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from service.api.links import Links
from service.domain.attempt import Stage
from service.domain.card import ModelCard
from service.domain.event import Delivery, DeliveryState, Endpoint, Secrets, Try
from service.domain.fallback import Fallback, FellBack
from service.domain.job import Job, JobError, JobState, Priority
from service.domain.key import Key
from service.domain.levers import Profile
from service.domain.price import Balance, Rate
from service.domain.request import VideoRequest
from service.webhooks.sign import shown


class Cost(BaseModel):
    """US dollars: expected, and what all attempts that have ended cost, failed ones too."""

    estimated_usd: float = Field(description="By the dearest of the models that may make it.")
    actual_usd: float | None = None
    gpu_seconds: float = 0.0
    gpu: str | None = Field(default=None, description="Whose rate it is.")
    usd_per_second: float | None = None
    rate_source: str | None = Field(default=None, description="Where that rate comes from.")


class Result(BaseModel):
    """The finished video. The URLs need no key and work until `expires_at`."""

    video_url: str
    thumbnail_url: str
    last_frame_url: str
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
    made_with: dict[str, str] = Field(
        description="How the model was run; clips of one seed are the same where this is the same."
    )

    @classmethod
    def from_domain(cls, job: Job, links: Links) -> Self | None:
        facts = job.result
        if facts is None or job.expires_at is None:
            return None
        return cls(
            video_url=links.content(job, "video"),
            thumbnail_url=links.content(job, "thumbnail"),
            last_frame_url=links.content(job, "last_frame"),
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
            made_with=facts.made_with,
        )


class Urls(BaseModel):
    """Where to go from here; do not build these yourself."""

    self: str
    cancel: str
    retry: str
    content: str
    thumbnail: str


class FallbackOut(BaseModel):
    """A model that may take the job over, and the request as it was resolved for it."""

    model: str
    input: VideoRequest
    expected_seconds: float = Field(description="On a warm worker, from begin to finish.")

    @classmethod
    def from_domain(cls, fallback: Fallback) -> Self:
        return cls(
            model=fallback.request.model,
            input=fallback.request,
            expected_seconds=round(fallback.expected_ms / 1000, 2),
        )


class JobOut(BaseModel):
    """A job. States: queued, starting, running, then one of the final ones."""

    id: str
    object: Literal["job"] = "job"
    job_id: str = Field(description="The same as `id`.")
    kind: Literal["video"] = "video"
    model: str = Field(description="Whose turn it is, or whose the video is.")
    profile: Profile = Field(description="`small`: in less memory, after an `oom`.")
    fallbacks: list[FallbackOut] = Field(description="Who takes over if it cannot, in order.")
    fell_back: list[FellBack] = Field(description="Who gave it up so far and why, in order.")
    sandbox: bool = Field(description="True when the model draws a placeholder and makes no video.")
    status: JobState
    stage: Stage | None = Field(description="What a worker is doing.")
    stage_detail: str | None
    progress: int = Field(ge=0, le=100, description="Never falls; 100 only for a success.")
    queue_position: int | None = Field(
        description="Jobs ahead of this one; null when it is not queued."
    )
    eta_seconds: float | None = Field(
        description="A guess at the seconds until the video is there."
    )
    priority: Priority
    attempts: int
    cancel_requested_at: datetime | None
    input: VideoRequest = Field(description="The request as it was resolved.")
    seed: int
    result: Result | None
    generation_time_ms: int | None = Field(description="From a worker's begin to its finish.")
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
        links: Links,
        *,
        card: ModelCard | None,
        position: int | None = None,
        eta_seconds: float | None = None,
    ) -> Self:
        return cls(
            id=job.id,
            job_id=job.id,
            model=job.request.model,
            profile=job.profile,
            fallbacks=[FallbackOut.from_domain(each) for each in job.fallbacks],
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
                content=links.job(job.id, "/content"),
                thumbnail=links.job(job.id, "/content?variant=thumbnail"),
            ),
        )


def duration_ms(job: Job) -> int:
    """Length of the finished video, rounded to a millisecond."""
    assert job.result is not None, "only a finished job has a length"
    return round(job.result.duration_seconds * 1000)


def generation_time_ms(job: Job) -> int | None:
    return None if job.timings_ms is None else job.timings_ms.get("total")


class InlineVideo(BaseModel):
    """The answer to `response_format: b64_json` when the job finished within the wait."""

    video: str = Field(description="The MP4 in base64.")
    duration_ms: int
    generation_time_ms: int


class JobList(BaseModel):
    """A page; go on with `?after=<last_id>` while `has_more`."""

    object: Literal["list"] = "list"
    data: list[JobOut]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Deleted(BaseModel):
    id: str
    object: Literal["job", "webhook_endpoint"] = "job"
    deleted: Literal[True] = True


class Estimate(BaseModel):
    """What a request would become; nothing was started."""

    model: str
    sandbox: bool
    input: VideoRequest
    duration_seconds: float
    expected_seconds: float = Field(description="On a warm worker, from begin to finish.")
    fallbacks: list[FallbackOut] = Field(description="Who takes over if it cannot, in order.")
    cost: Cost
    warnings: list[str]


class RateOut(BaseModel):
    """US dollars for one second."""

    gpu: str | None = Field(description="Null where none is needed or none is billed.")
    usd_per_second: float
    source: str

    @classmethod
    def from_domain(cls, rate: Rate) -> Self:
        return cls(gpu=rate.gpu, usd_per_second=rate.usd_per_second, source=rate.source)


class ModelOut(ModelCard):
    """A model's card, and whether it is the default and has a worker just now."""

    id: str
    object: Literal["model"] = "model"
    default: bool
    workers: int
    rate: RateOut = Field(description="Of the GPU that it is tried on first.")


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelOut]


class Budget(BaseModel):
    """How a key stands this month (UTC), in US dollars."""

    budget_usd: float | None = Field(description="Null: no bound.")
    spent_usd: float = Field(description="What the attempts cost that ended this month.")
    reserved_usd: float = Field(description="The estimates of all jobs that are not final.")
    left_usd: float | None = Field(description="What a new job may be expected to cost.")

    @classmethod
    def from_domain(cls, balance: Balance) -> Self:
        left = balance.left
        return cls(
            budget_usd=None if balance.budget is None else balance.budget / 1e6,
            spent_usd=balance.spent / 1e6,
            reserved_usd=balance.reserved / 1e6,
            left_usd=None if left is None else left / 1e6,
        )


class Sums(BaseModel):
    """`jobs` that ended, and what all attempts took that did, in GPU seconds and US dollars."""

    jobs: int
    gpu_seconds: float
    cost_usd: float


class UsageRow(Sums):
    """The sums of one day (UTC), one model, or one key, as `group_by` asked."""

    day: date | None = None
    model: str | None = None
    key: str | None = Field(default=None, description="A key's id.")
    key_name: str | None = None


class Usage(BaseModel):
    """What jobs took from one day to another, both included."""

    model_config = ConfigDict(populate_by_name=True)

    object: Literal["usage"] = "usage"
    first: date = Field(alias="from")
    last: date = Field(alias="to")
    group_by: Literal["day", "model", "key"]
    data: list[UsageRow]
    total: Sums
    budget: Budget = Field(description="Of the key that asks, this month.")


class KeyOut(BaseModel):
    """An API key without its secret."""

    id: str
    object: Literal["key"] = "key"
    name: str
    prefix: str
    admin: bool
    budget: Budget
    created_at: datetime
    revoked_at: datetime | None

    @classmethod
    def from_domain(cls, key: Key, balance: Balance) -> Self:
        return cls(
            id=key.id,
            name=key.name,
            prefix=key.prefix,
            admin=key.admin,
            budget=Budget.from_domain(balance),
            created_at=key.created_at,
            revoked_at=key.revoked_at,
        )


class NewKeyOut(BaseModel):
    """A new API key; `secret` is shown this once."""

    key: KeyOut
    secret: str


class KeyList(BaseModel):
    object: Literal["list"] = "list"
    data: list[KeyOut]


class WebhookEndpoint(BaseModel):
    """A URL that hears of your jobs. `disabled_at` is set when it is given up; enable it again."""

    id: str
    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    url: str
    events: list[str]
    created_at: datetime
    failing_since: datetime | None = Field(description="Since when every try has failed.")
    disabled_at: datetime | None
    disabled_reason: str | None

    @classmethod
    def from_domain(cls, endpoint: Endpoint) -> Self:
        return cls(
            id=endpoint.id,
            url=endpoint.url,
            events=list(endpoint.events),
            created_at=endpoint.created_at,
            failing_since=endpoint.failing_since,
            disabled_at=endpoint.disabled_at,
            disabled_reason=endpoint.disabled_reason,
        )


class NewWebhookEndpoint(BaseModel):
    """A new endpoint and the secret that signs what is sent to it."""

    endpoint: WebhookEndpoint
    secret: str


class WebhookEndpointList(BaseModel):
    object: Literal["list"] = "list"
    data: list[WebhookEndpoint]


class WebhookSecret(BaseModel):
    """What signs. After a rotation `old_secret` signs too, until `old_secret_until`."""

    secret: str
    old_secret: str | None
    old_secret_until: datetime | None

    @classmethod
    def from_domain(cls, secrets: Secrets, now: datetime) -> Self:
        old = secrets.old if len(secrets.good(now)) > 1 else None
        return cls(
            secret=shown(secrets.present),
            old_secret=None if old is None else shown(old),
            old_secret_until=None if old is None else secrets.old_until,
        )


class WebhookDelivery(BaseModel):
    """One event owed to one URL. `id` is the `webhook-id` of every try."""

    id: str
    object: Literal["webhook_delivery"] = "webhook_delivery"
    event: str
    url: str
    endpoint_id: str | None
    job_id: str | None
    status: DeliveryState
    attempts: int
    next_attempt_at: datetime | None
    delivered_at: datetime | None
    created_at: datetime
    tries: list[Try]

    @classmethod
    def from_domain(cls, delivery: Delivery) -> Self:
        return cls(
            id=delivery.id,
            event=delivery.event,
            url=delivery.url,
            endpoint_id=delivery.endpoint_id,
            job_id=delivery.job_id,
            status=delivery.state,
            attempts=len(delivery.tries),
            next_attempt_at=delivery.next_at,
            delivered_at=delivery.delivered_at,
            created_at=delivery.created_at,
            tries=list(delivery.tries),
        )


class WebhookDeliveryList(BaseModel):
    """A page; go on with `?after=<last_id>` while `has_more`."""

    object: Literal["list"] = "list"
    data: list[WebhookDelivery]
    first_id: str | None
    last_id: str | None
    has_more: bool
