"""A submission: a resolved request that is to become a job."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from service.domain import ids
from service.domain.avatar import AnyRequest
from service.domain.errors import FieldError, RequestRefused
from service.domain.ids import JobId, KeyId
from service.domain.job import OWN_API, Job, JobState
from service.domain.model_choice import ModelChoice
from service.domain.price import Rate
from service.domain.request import Priority
from service.domain.retry import MAX_ATTEMPTS


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
