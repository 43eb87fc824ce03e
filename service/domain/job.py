"""The job, its states and the legal transitions between them."""

from enum import StrEnum

from pydantic import AwareDatetime, BaseModel, ConfigDict

from service.domain.artifact import artifact_prefix
from service.domain.attempt import FailureKind, Profile, Stage, VideoFacts
from service.domain.avatar import AnyRequest
from service.domain.fallback import FallbackRecord
from service.domain.ids import JobId, KeyId
from service.domain.model_choice import ModelChoice
from service.domain.request import Priority
from service.domain.speech import JobSpeech

OWN_API = "rushes"  # the one under service/api/routes
RANKS: dict[Priority, int] = {"high": 0, "normal": 1, "low": 2}  # the lowest is claimed first


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


class JobError(BaseModel):
    """The reason of a failed job, for people and for programs."""

    model_config = ConfigDict(frozen=True)

    code: str
    kind: FailureKind
    message: str
    retryable: bool
    stage: Stage | None = None
    attempt: int


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
    max_attempts: int = 3
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
