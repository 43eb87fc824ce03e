"""Retry policy: which failures are retried and when, and which go to another model."""

import random
from dataclasses import dataclass
from datetime import datetime, timedelta

from service.domain.attempt import Failure, FailureKind, Profile
from service.domain.job import MAX_ATTEMPTS, FallbackRecord, Job, ModelChoice, changes
from service.domain.request import JobRequest

MAX_LOST = 2  # a job that takes two workers down is the likely cause
MAX_LAPSED = 5  # starts of a job that no worker began
# Attempts ended by a fault of a machine do not count against `max_attempts`, but a job that fills
# the disk of each machine must not be retried for ever.
MAX_MACHINE_FAULTS = 10
MAX_RESTARTS = 2  # of one attempt: its container died, and the platform restarted it


@dataclass(frozen=True)
class Retry:
    """Retries of a kind of failure: their limit and backoff, and whether it counts against
    `max_attempts`."""

    limit: int
    first_wait: timedelta = timedelta(0)
    counts: bool = True

    def wait(self, earlier: int) -> timedelta:
        """Exponential backoff with 20 % jitter, so that jobs that failed together are not retried
        together."""
        jitter = random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - not a secret
        return min(self.first_wait * (1 << earlier), _MAX_WAIT) * jitter


_JITTER = 0.2
_MAX_WAIT = timedelta(seconds=45)  # with the jitter below MAX_WAIT

RETRIES: dict[FailureKind, Retry] = {
    FailureKind.TRANSIENT: Retry(limit=MAX_ATTEMPTS - 1, first_wait=timedelta(seconds=5)),
    FailureKind.LOST: Retry(limit=MAX_LOST - 1),
    FailureKind.MACHINE: Retry(
        limit=MAX_MACHINE_FAULTS - 1, first_wait=timedelta(seconds=2), counts=False
    ),
}

# No wait is longer: a job with a longer one was scheduled before the clock was set back.
MAX_WAIT = timedelta(minutes=1)

# Kinds after which submitting the same request as a new job makes sense.
RETRYABLE = frozenset(
    {
        FailureKind.TRANSIENT,
        FailureKind.LOST,
        FailureKind.TIMEOUT,
        FailureKind.INTERNAL,
        FailureKind.MACHINE,
    }
)


def is_uncounted(kind: FailureKind) -> bool:
    """Tell whether failures of this kind do not count against `max_attempts`."""
    retry = RETRIES.get(kind)
    return retry is not None and not retry.counts


# A text that cannot be spoken now, since the provider or this machine is at fault, is tried again
# for so long from its submit, and so often at least.
MAX_SPEECH_WAIT = timedelta(hours=1)
_MIN_SPEECH_TRIES = 5
_SPEECH = Retry(limit=_MIN_SPEECH_TRIES, first_wait=timedelta(seconds=3))


def speech_wait(
    job: Job, kind: FailureKind, now: datetime, hint: timedelta = timedelta(0)
) -> timedelta | None:
    """Return the wait before the text of a queued job is tried again after a failure, or None to
    give up. `hint` is the wait that its provider asks for."""
    if kind not in (FailureKind.TRANSIENT, FailureKind.MACHINE):
        return None
    if job.speech_tries >= _MIN_SPEECH_TRIES and now - job.created_at > MAX_SPEECH_WAIT:
        return None
    return max(hint, _SPEECH.wait(min(job.speech_tries, _MIN_SPEECH_TRIES)))


def retry_wait(kind: FailureKind, *, attempts_left: int, earlier: int) -> timedelta | None:
    """Return the wait before the next attempt, or None for no further attempt.

    `attempts_left` is of the job's `max_attempts`; `earlier` counts the attempts before this one
    that ended with the same kind.
    """
    retry = RETRIES.get(kind)
    if retry is None or earlier >= retry.limit or (retry.counts and attempts_left <= 0):
        return None
    return retry.wait(earlier)


# Kinds that another model may avoid, if the failure itself does not say. Not `user`, whose input
# stays invalid, and not `timeout`, whose time is used up.
_OF_THE_MODEL = frozenset(
    {
        FailureKind.OOM,
        FailureKind.TRANSIENT,
        FailureKind.LOST,
        FailureKind.INTERNAL,
        FailureKind.MACHINE,
    }
)


def step_down(
    job: Job, failure: Failure, now: datetime, served_models: frozenset[str]
) -> Job | None:
    """Return the job for its next attempt after a failure that is not simply retried: with the same
    model in less memory, or with the next one of `served_models`; None if there is none."""
    if failure.kind is FailureKind.OOM and job.profile is Profile.FULL:
        return _smaller(job, failure, now)
    of_the_model = failure.kind in _OF_THE_MODEL if failure.of_model is None else failure.of_model
    fallbacks = [each for each in job.fallbacks if each.request.model in served_models]
    if of_the_model and fallbacks:
        return _with_next_model(job, failure, now, *fallbacks)
    return None


def _smaller(job: Job, failure: Failure, now: datetime) -> Job:
    return job.model_copy(
        update={
            "profile": Profile.SMALL,
            "fell_back": (*job.fell_back, _record(job, failure, now, job.request)),
            "max_attempts": max(job.max_attempts, job.attempt + 1),
        }
    )


def _with_next_model(
    job: Job, failure: Failure, now: datetime, fallback: ModelChoice, *rest: ModelChoice
) -> Job:
    """Switch to a fallback, with new attempts and a new start deadline."""
    wait = job.start_timeout_seconds
    return job.model_copy(
        update={
            "request": fallback.request,
            "profile": Profile.FULL,
            "fallbacks": rest,
            "fell_back": (*job.fell_back, _record(job, failure, now, fallback.request)),
            "expected_ms": fallback.expected_ms,
            "rate_source": fallback.rate_source,
            "rate_gpu": fallback.rate_gpu,
            "usd_per_second": fallback.usd_per_second,
            "max_attempts": job.attempt + MAX_ATTEMPTS,
            "start_deadline_at": None if wait is None else now + timedelta(seconds=wait),
        }
    )


def _record(job: Job, failure: Failure, now: datetime, next_request: JobRequest) -> FallbackRecord:
    return FallbackRecord(
        model=job.request.model,
        profile=job.profile,
        code=failure.code,
        message=failure.message,
        at=now,
        next_model=next_request.model,
        changes=changes(job.request, next_request),
    )
