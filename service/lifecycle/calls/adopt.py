"""Adoption: settle a job by what its call returned, in place of a report that did not arrive."""

from datetime import datetime, timedelta

from service.domain.artifact import is_salted, lone_prefix
from service.domain.attempt import Failure, FailureKind, Outcome
from service.domain.call import CallEnd
from service.domain.job import Job, JobState
from service.domain.terms import Terms
from service.lifecycle.report import succeed
from service.lifecycle.settle import settle
from service.lifecycle.verify import outcome_errors
from service.store import moves
from service.store.transaction import Transaction


def adopt(
    tx: Transaction, job: Job, call_id: str, end: CallEnd, *, terms: Terms, now: datetime
) -> Job | None:
    """Settle the job by the return value of its call, in place of a report that did not arrive.

    None if that is not about the job's present attempt.
    """
    if not _concerns(job, end):
        return None
    if job.state is JobState.STARTING:
        # The worker could not reach the service to begin; its outcome counts all the same.
        job = moves.begin(tx, job, now=now, lease=timedelta(0))
    if end.failure is not None:
        return settle(tx, job, end.failure, terms, now)
    assert end.outcome is not None
    if is_foreign(job, call_id, end.outcome, end):
        return settle(tx, job, _FOREIGN, terms, now)
    return succeed(tx, job, end.outcome, terms=terms, now=now)


def is_foreign(job: Job, call_id: str, outcome: Outcome, end: CallEnd) -> bool:
    """Tell whether the outcome does not match the request, or lies outside the call's folder."""
    return bool(outcome_errors(job, outcome, _prefix(job, call_id, outcome, end)))


def _prefix(job: Job, call_id: str, outcome: Outcome, end: CallEnd) -> str:
    if not end.begun:
        return lone_prefix(job.id, end.fence, call_id)
    prefix = outcome.facts.video.key.rpartition("/")[0]
    # The salt that its begin returned is unknown if an older database was restored since.
    return prefix if is_salted(prefix, job.id, end.fence) else job.prefix_of(end.fence)


def _concerns(job: Job, end: CallEnd) -> bool:
    """Tell whether the return value of the job's call is about its present attempt.

    Each begin bumps the fence, and a worker whose begin was not confirmed works under its ticket's.
    A video counts under any fence. A failure counts only under the present one, since another
    container of the call may be at work.
    """
    return end.outcome is not None or (end.failure is not None and end.fence == job.fence)


_FOREIGN = Failure(
    kind=FailureKind.INTERNAL,
    code="foreign_result",
    message="the worker returned a video that is not this job's; see the worker's log",
)
