"""The submission of a job; the job, its states and the legal transitions between them."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict

from service.domain import ids
from service.domain.attempt import FailureKind, Profile, Stage, VideoFacts, artifact_prefix
from service.domain.errors import FieldError, RequestRefused
from service.domain.event import EventKind
from service.domain.ids import JobId, KeyId
from service.domain.kinds import AnyRequest
from service.domain.price import Rate, cost_usd
from service.domain.request import JobRequest, Priority
from service.domain.speech import JobSpeech

# Fields of a request that may differ for another model; the prompt and the inputs never do.
_RESOLVED = (
    "width",
    "height",
    "num_frames",
    "fps",
    "num_inference_steps",
    "guidance_scale",
    "strength",
)


class Change(BaseModel):
    """A field's value before and after a fallback."""

    model_config = ConfigDict(frozen=True)

    before: float | None
    after: float | None


class FallbackRecord(BaseModel):
    """A model that gave a job up, its memory profile and the reason.

    `next_model` took over, in the smaller profile if it is the same model; `changes` are the fields
    of the request that differ for it.
    """

    model_config = ConfigDict(frozen=True)

    model: str
    profile: Profile
    code: str
    message: str
    at: AwareDatetime
    next_model: str
    changes: dict[str, Change]


def changes(before: JobRequest, after: JobRequest) -> dict[str, Change]:
    """Return the resolved fields that differ."""

    def of(request: JobRequest) -> dict[str, Any]:
        return request.model_dump(include=set(_RESOLVED))

    old, new = of(before), of(after)
    return {
        name: Change(before=old.get(name), after=new.get(name))
        for name in _RESOLVED
        if old.get(name) != new.get(name)
    }


MAX_ATTEMPTS = 3
OWN_API = "rushes"  # the one under service/api/routes
RANKS: dict[Priority, int] = {"high": 0, "normal": 1, "low": 2}  # the lowest is claimed first


class ModelChoice(BaseModel):
    """A model that may make a video, with the request as it was resolved for it.

    `expected_ms` is its expected duration on a warm worker; the rest is the rate of the GPU that it
    tries first.
    """

    model_config = ConfigDict(frozen=True)

    request: AnyRequest
    expected_ms: int
    rate_source: str | None = None
    rate_gpu: str | None = None
    usd_per_second: float | None = None

    @property
    def rate(self) -> Rate:
        return Rate(self.usd_per_second or 0.0, self.rate_source or "", self.rate_gpu)

    @property
    def estimated_usd(self) -> float:
        return round(cost_usd(self.expected_ms / 1000, self.rate), 6)


class JobState(StrEnum):
    """A job's state. A worker acts next if it is starting or running; final states never change."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"

    @property
    def final(self) -> bool:
        return not MOVES[self]


# The state machine. The store guards every UPDATE with `sources(target)`, so a transition that is
# not listed here cannot happen.
MOVES: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset(
        {JobState.STARTING, JobState.FAILED, JobState.CANCELED, JobState.EXPIRED}
    ),
    JobState.STARTING: frozenset(
        {JobState.RUNNING, JobState.QUEUED, JobState.FAILED, JobState.CANCELED}
    ),
    JobState.RUNNING: frozenset(
        {JobState.SUCCEEDED, JobState.QUEUED, JobState.FAILED, JobState.CANCELED}
    ),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELED: frozenset(),
    JobState.EXPIRED: frozenset(),
}

ACTIVE = frozenset({JobState.STARTING, JobState.RUNNING})
FINAL = frozenset(state for state, targets in MOVES.items() if not targets)


def sources(target: JobState) -> frozenset[JobState]:
    """Return the states from which `target` may be entered."""
    return frozenset(state for state, targets in MOVES.items() if target in targets)


# The event of a job's transition to a state.
EVENT_OF: dict[JobState, EventKind] = {
    JobState.RUNNING: "job.started",
    JobState.SUCCEEDED: "job.succeeded",
    JobState.FAILED: "job.failed",
    JobState.CANCELED: "job.canceled",
    JobState.EXPIRED: "job.expired",
}


class JobError(BaseModel):
    """The reason of a failed job, for people and for programs."""

    model_config = ConfigDict(frozen=True)

    code: str
    kind: FailureKind
    message: str
    retryable: bool
    stage: Stage | None = None
    attempt: int

    @property
    def is_user_failure(self) -> bool:
        """Tell whether it is for the job's owner to mend, not for the service."""
        return self.kind is FailureKind.USER


class Job(BaseModel):
    """A job: an immutable copy of its row."""

    model_config = ConfigDict(frozen=True)

    id: JobId
    key_id: KeyId
    state: JobState
    priority: Priority
    request: AnyRequest  # as resolved for its present model
    metadata: dict[str, str]
    profile: Profile = Profile.FULL
    fallbacks: tuple[ModelChoice, ...] = ()  # models that may take over, in order
    fell_back: tuple[FallbackRecord, ...] = ()  # models that gave it up, in order

    stage: Stage | None = None
    stage_detail: str | None = None
    progress: float = 0.0  # 0 to 1, never falls
    attempt_progress: float = 0.0  # of the newest attempt, from 0 with each
    attempt: int = 0  # number of the newest attempt; 0 before the first claim
    max_attempts: int = MAX_ATTEMPTS
    fence: int = 0
    cancel_requested_at: AwareDatetime | None = None

    created_at: AwareDatetime
    run_at: AwareDatetime  # not claimed before this
    # Its text is spoken then, or is being spoken until then; None: nothing to speak.
    speech_at: AwareDatetime | None = None
    speech_tries: int = 0
    start_timeout_seconds: int | None = None  # how long to wait for each of its models
    start_deadline_at: AwareDatetime | None = None  # queued past this: next model, or expired
    timeout_seconds: int  # running longer than this: failed, kind timeout
    run_deadline_at: AwareDatetime | None = None  # set by begin
    started_at: AwareDatetime | None = None
    finished_at: AwareDatetime | None = None
    expires_at: AwareDatetime | None = None  # until when the bytes are kept
    lease_until: AwareDatetime | None = None

    result: VideoFacts | None = None
    timings_ms: dict[str, int] | None = None
    gpu: str | None = None
    gpu_seconds: float = 0.0
    estimated_usd: float = 0.0
    actual_usd: float | None = None
    rate_source: str | None = None
    rate_gpu: str | None = None  # the GPU that the rate is for
    usd_per_second: float | None = None
    speech: JobSpeech | None = None  # where a text was spoken
    error: JobError | None = None

    webhook_url: str | None = None
    webhook_events: list[str] | None = None
    api: str = OWN_API  # whose shape its webhooks have
    api_url: str | None = None  # through which the service was reached at submit
    expected_ms: int = 0  # expected duration of the generation
    retry_of: JobId | None = None
    traceparent: str | None = None
    folder_salt: str | None = None  # of the newest attempt that began

    @property
    def left_ms(self) -> float:
        """Return the milliseconds that the attempt is expected to take yet."""
        return left_ms(self.expected_ms, self.attempt_progress)

    @property
    def artifact_prefix(self) -> str:
        """Return the prefix of the running attempt's bytes; a late worker uses its own fence."""
        return self.prefix_of(self.fence)

    def prefix_of(self, fence: int) -> str:
        """Return the prefix for an earlier fence of the running attempt. Its salt keeps it apart
        from attempts with the same fence before an older database was restored."""
        prefix = artifact_prefix(self.id, fence)
        return prefix if self.folder_salt is None else f"{prefix}-{self.folder_salt}"


def left_ms(expected_ms: int, attempt_progress: float) -> float:
    return expected_ms * (1 - attempt_progress)


@dataclass(frozen=True)
class Scope:
    """The jobs that a caller may see and change: those of one key; None: of all keys."""

    key_id: KeyId | None

    def includes(self, key_id: KeyId) -> bool:
        """Tell whether jobs of this key are among them."""
        return self.key_id in (None, key_id)


class JobFilter(BaseModel):
    """Selects jobs: by any value of each tuple that is not empty, and by all of the rest."""

    model_config = ConfigDict(frozen=True)

    states: tuple[JobState, ...] = ()
    models: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    ids: tuple[JobId, ...] | None = None  # of none, no job
    metadata: dict[str, str] = {}
    error_code: str | None = None
    created_after: AwareDatetime | None = None  # or at it; in ids, to the millisecond
    created_before: AwareDatetime | None = None
    ended_after: AwareDatetime | None = None  # or at it
    ended_before: AwareDatetime | None = None
    words: tuple[str, ...] = ()  # in the prompt or the spoken text: all of them

    @property
    def is_by_end(self) -> bool:
        """Tell whether the jobs are listed in the order in which they ended."""
        return self.ended_after is not None or self.ended_before is not None


@dataclass(frozen=True)
class Idempotency:
    """An Idempotency-Key and the SHA-256 of its request."""

    name: str
    fingerprint: bytes

    def check(self, fingerprint: bytes) -> None:
        """Raise RequestRefused unless the request that came with this key before was the same."""
        if fingerprint != self.fingerprint:
            detail = "this Idempotency-Key was already used with another request; "
            detail += "use a new one for each new request"
            field_error = FieldError("", detail, "idempotency_key_reused")
            raise RequestRefused([field_error], code="idempotency_key_reused")


@dataclass(frozen=True)
class Submission:
    """A resolved request with its options of queueing, cost and webhooks. An admin who submits it
    in the admin pages is its `actor`, and is recorded."""

    key_id: KeyId
    request: AnyRequest
    timeout: timedelta
    start_timeout: timedelta | None = None
    priority: Priority = "normal"
    metadata: dict[str, str] = field(default_factory=dict)
    estimated_usd: float = 0.0
    rate: Rate | None = None
    fallbacks: tuple[ModelChoice, ...] = ()
    webhook_url: str | None = None
    webhook_events: list[str] | None = None
    api: str = OWN_API
    api_url: str | None = None
    expected_duration: timedelta = timedelta(0)
    retry_of: JobId | None = None
    traceparent: str | None = None
    idempotency: Idempotency | None = None
    actor: KeyId | None = None
    job_id: JobId | None = None  # set if its inputs are already stored


def new_id() -> JobId:
    return JobId(ids.new("job"))


def new_job(submission: Submission, now: datetime) -> Job:
    """Create the queued job of a submission."""
    wait, rate = submission.start_timeout, submission.rate
    return Job(
        id=submission.job_id or new_id(),
        key_id=submission.key_id,
        state=JobState.QUEUED,
        priority=submission.priority,
        request=submission.request,
        metadata=submission.metadata,
        max_attempts=MAX_ATTEMPTS,
        created_at=now,
        run_at=now,
        speech_at=now if submission.request.needs_speech else None,
        fallbacks=submission.fallbacks,
        start_timeout_seconds=None if wait is None else round(wait.total_seconds()),
        start_deadline_at=None if wait is None else now + wait,
        timeout_seconds=round(submission.timeout.total_seconds()),
        estimated_usd=submission.estimated_usd,
        rate_source=None if rate is None else rate.source,
        rate_gpu=None if rate is None else rate.gpu,
        usd_per_second=None if rate is None else rate.usd_per_second,
        webhook_url=submission.webhook_url,
        webhook_events=submission.webhook_events,
        api=submission.api,
        api_url=submission.api_url,
        expected_ms=round(submission.expected_duration.total_seconds() * 1000),
        retry_of=submission.retry_of,
        traceparent=submission.traceparent,
    )
