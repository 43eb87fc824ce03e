"""Which failures are tried again and when, and which are handed to another model."""

import random
from dataclasses import dataclass
from datetime import datetime, timedelta

from service.domain.attempt import Failure, FailureKind
from service.domain.fallback import Fallback, FallbackRecord, changes
from service.domain.job import Job
from service.domain.models.tuning import Profile
from service.domain.request import VideoRequest

MAX_ATTEMPTS = 3
MAX_LOST = 2  # a job that takes two workers down with it is the poison, not the victim
MAX_LAPSED = 5  # starts of a job that no worker made good
# Attempts that end by a fault of a machine, whichever: they cost the job nothing, but one that
# alone fills any disk does not circulate for ever.
MAX_MACHINE_FAULTS = 10
MAX_RESTARTS = 2  # of one attempt: its container died at work, and the platform ran it again


@dataclass(frozen=True)
class Retry:
    """How often a kind of failure may be followed by another attempt, after what wait, and whether
    the failure was one of the job's few attempts."""

    limit: int
    first_wait: timedelta = timedelta(0)
    counts: bool = True

    def wait(self, earlier: int) -> timedelta:
        """Doubles with every failure that came before, a fifth more or less: what failed together
        is not tried together."""
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

# No wait is longer: a job that is to wait longer was put off by a clock that has been set back.
MAX_WAIT = timedelta(minutes=1)

# What a person may sensibly try again as a new job, unchanged.
RETRYABLE = frozenset(
    {
        FailureKind.TRANSIENT,
        FailureKind.LOST,
        FailureKind.TIMEOUT,
        FailureKind.INTERNAL,
        FailureKind.MACHINE,
    }
)


def spares(kind: FailureKind) -> bool:
    """Tell whether an attempt that fails by `kind` is none of the job's few."""
    retry = RETRIES.get(kind)
    return retry is not None and not retry.counts


def retry_wait(kind: FailureKind, *, left: int, earlier: int) -> timedelta | None:
    """How long to wait before the next attempt, or None when there is to be none.

    `left` is how many attempts the job still has; `earlier` counts those that ended with the same
    kind before this one.
    """
    retry = RETRIES.get(kind)
    if retry is None or earlier >= retry.limit or (retry.counts and left <= 0):
        return None
    return retry.wait(earlier)


# What another model may do better, where the failure itself does not say. Not `user`, whose
# picture stays as broken, and not `timeout`: the time that was given is spent.
_OF_THE_MODEL = frozenset(
    {
        FailureKind.OOM,
        FailureKind.TRANSIENT,
        FailureKind.LOST,
        FailureKind.INTERNAL,
        FailureKind.MACHINE,
    }
)


def step_down(job: Job, why: Failure, now: datetime, served: frozenset[str]) -> Job | None:
    """The job as it goes on after a failure for which it is not merely tried again: with the same
    model in less memory, with the next one of those that are `served`, or (None) not at all."""
    if why.kind is FailureKind.OOM and job.profile is Profile.FULL:
        return _smaller(job, why, now)
    of_the_model = why.kind in _OF_THE_MODEL if why.of_model is None else why.of_model
    left = [each for each in job.fallbacks if each.request.model in served]
    if of_the_model and left:
        return _with_next_model(job, why, now, *left)
    return None


def _smaller(job: Job, why: Failure, now: datetime) -> Job:
    return job.model_copy(
        update={
            "profile": Profile.SMALL,
            "fell_back": (*job.fell_back, _gave_up(job, why, now, job.request)),
            "max_attempts": max(job.max_attempts, job.attempt + 1),
        }
    )


def _with_next_model(
    job: Job, why: Failure, now: datetime, following: Fallback, *rest: Fallback
) -> Job:
    """It has as many attempts, and is waited for as long, as the one before it."""
    wait = job.start_timeout_seconds
    return job.model_copy(
        update={
            "request": following.request,
            "profile": Profile.FULL,
            "fallbacks": rest,
            "fell_back": (*job.fell_back, _gave_up(job, why, now, following.request)),
            "expected_ms": following.expected_ms,
            "rate_source": following.rate_source,
            "rate_gpu": following.rate_gpu,
            "usd_per_second": following.usd_per_second,
            "max_attempts": job.attempt + MAX_ATTEMPTS,
            "start_deadline_at": None if wait is None else now + timedelta(seconds=wait),
        }
    )


def _gave_up(job: Job, why: Failure, now: datetime, following: VideoRequest) -> FallbackRecord:
    return FallbackRecord(
        model=job.request.model,
        profile=job.profile,
        code=why.code,
        message=why.message,
        at=now,
        next_model=following.model,
        changes=changes(job.request, following),
    )
