"""State changes of a job: each is one UPDATE, guarded by the job's state and fence.

Each takes a job that this transaction has locked, and returns the changed job. Raises Lost when the
guard fails, since the caller's copy is stale.
"""

from datetime import datetime, timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa

from service.domain import metrics, topics
from service.domain.attempt import Failure, Outcome, Progress, new_salt
from service.domain.errors import Lost
from service.domain.job import ACTIVE, EVENT_OF, Job, JobState, sources
from service.domain.price import Charge, microusd, month_of
from service.domain.retention import SETTLE
from service.domain.speech import JobSpeech, SpeechUsage
from service.store import hours, keys, outbox, totals
from service.store.job_rows import job_table, to_job, to_row
from service.store.transaction import Transaction


def claim(tx: Transaction, job: Job, *, lease_until: datetime) -> Job:
    """Start an attempt; the key's active jobs already include it (keys.increment_active)."""
    return _move(
        tx,
        job,
        JobState.STARTING,
        attempt=job.attempt + 1,
        attempt_progress=0.0,
        lease_until=lease_until,
        stage=None,
    )


def begin(tx: Transaction, job: Job, *, now: datetime, lease: timedelta) -> Job:
    running = _move(
        tx,
        job,
        JobState.RUNNING,
        folder_salt=new_salt(),
        started_at=now,
        start_deadline_at=None,  # met; a later attempt may wait longer
        lease_until=now + lease,
        run_deadline_at=now + timedelta(seconds=job.timeout_seconds),
    )
    if job.started_at is None:
        outbox.enqueue(tx, EVENT_OF[running.state], running, now)
    return running


def requeue(
    tx: Transaction,
    job: Job,
    *,
    run_at: datetime,
    charge: Charge | None = None,
    next_job: Job | None = None,
) -> Job:
    """Queue again after an attempt. `charge` is its cost; `next_job` holds other fields to change,
    such as the model."""
    queued_job = _move(
        tx,
        job,
        JobState.QUEUED,
        charge,
        run_at=run_at,
        folder_salt=None,
        lease_until=None,
        run_deadline_at=None,
        stage=None,
        stage_detail=None,
        **_changes(job, next_job or job),
    )
    tx.notify(topics.of_queue(queued_job.request.model))
    return queued_job


def change_model(tx: Transaction, job: Job, next_job: Job, *, now: datetime) -> Job:
    """Queue a queued job for another model, from now on."""
    values = _changes(job, next_job)
    queued_job = _update(tx, job, {JobState.QUEUED}, fence=job.fence + 1, run_at=now, **values)
    tx.notify(topics.of_queue(queued_job.request.model))
    return queued_job


def _changes(job: Job, next_job: Job) -> dict[str, Any]:
    """Return the columns that differ."""
    before, after = to_row(job), to_row(next_job)
    return {name: value for name, value in after.items() if value != before[name]}


def release(tx: Transaction, job: Job, *, run_at: datetime, charge: Charge) -> Job:
    """Queue again after an attempt that does not count against `max_attempts`."""
    next_job = job.model_copy(update={"max_attempts": job.max_attempts + 1})
    return requeue(tx, job, run_at=run_at, charge=charge, next_job=next_job)


def succeed(
    tx: Transaction, job: Job, outcome: Outcome, *, expires_at: datetime, charge: Charge
) -> Job:
    return _finish(
        tx,
        job,
        JobState.SUCCEEDED,
        charge,
        result=outcome.facts.model_dump(mode="json"),
        timings_ms=outcome.timings_ms,
        expires_at=expires_at,
        progress=1.0,
    )


def fail(tx: Transaction, job: Job, failure: Failure, *, charge: Charge) -> Job:
    return _finish(
        tx,
        job,
        JobState.FAILED,
        charge,
        stage=failure.stage or job.stage,
        error_kind=failure.kind,
        error_code=failure.code,
        error_message=failure.message,
        timings_ms=failure.timings_ms or None,
    )


def cancel(tx: Transaction, job: Job, *, charge: Charge) -> Job:
    requested_at = job.cancel_requested_at or charge.at
    return _finish(tx, job, JobState.CANCELED, charge, cancel_requested_at=requested_at)


def expire(tx: Transaction, job: Job, *, now: datetime) -> Job:
    return _finish(tx, job, JobState.EXPIRED, Charge(at=now))


def _finish(tx: Transaction, job: Job, to: JobState, charge: Charge, **values: Any) -> Job:
    now = charge.at
    final_job = _move(
        tx,
        job,
        to,
        charge,
        finished_at=now,
        purge_at=now + SETTLE,
        lease_until=None,
        run_deadline_at=None,
        **values,
    )
    outbox.enqueue(tx, EVENT_OF[to], final_job, now)
    # After the event, so that its lock comes before those of the sums, in every process.
    tx.before_commit.append(partial(totals.add, tx, metrics.of_end(final_job)))
    tx.before_commit.append(partial(hours.add, tx, final_job))
    tx.notify(topics.of_end(job.id))
    return final_job


def _move(
    tx: Transaction, job: Job, to: JobState, charge: Charge | None = None, **values: Any
) -> Job:
    """Change the state, guarded by the state and the fence, and bump the fence.

    The bump makes a late worker's fencing token stale. Success keeps the fence, since it names the
    folder of the finished bytes.
    """
    fence = job.fence if to is JobState.SUCCEEDED else job.fence + 1
    cost = {} if charge is None else _cost(job, charge)
    after = _update(tx, job, sources(to), **{**cost, **values, "state": to, "fence": fence})
    _count(tx, job, to, charge)
    return after


def _cost(job: Job, charge: Charge) -> dict[str, Any]:
    """Add the attempt's cost to the job's; the job shows the rate of its last attempt."""
    cost: dict[str, Any] = {
        "gpu_ms": round(job.gpu_seconds * 1000) + charge.gpu_ms,
        "actual_microusd": microusd(job.actual_usd or 0.0) + charge.microusd,
        "gpu": charge.gpu or job.gpu,
    }
    if charge.rate is not None:
        rate = charge.rate
        cost |= {
            "rate_source": rate.source,
            "rate_gpu": rate.gpu,
            "usd_per_second": rate.usd_per_second,
        }
    return cost


def _count(tx: Transaction, job: Job, to: JobState, charge: Charge | None) -> None:
    """Update the key's counters and the ledger: queued and active jobs, reservation, cost."""
    keys.add_to_counters(
        tx,
        job.key_id,
        queued=(to is JobState.QUEUED) - (job.state is JobState.QUEUED),
        active=-(job.state in ACTIVE and to not in ACTIVE),
        reserved=-microusd(job.estimated_usd) if to.final else 0,
        cost=0 if charge is None else charge.microusd,
        month=0 if charge is None else month_of(charge.at),
    )
    if charge is not None:
        keys.book(tx, job, charge, jobs=int(to.final))


# Changes within a state.


def finish_speech(tx: Transaction, job: Job, speech: JobSpeech, *, size_bytes: int) -> Job:
    """Let a queued job go to a worker: its text was spoken, and the sound is an input of it."""
    after = _update(
        tx,
        job,
        {JobState.QUEUED},
        speech_at=None,
        speech=speech.model_dump(mode="json"),
        stage_detail=None,
        input_bytes=job_table.c.input_bytes + size_bytes,
    )
    tx.notify(topics.of_queue(job.request.model))
    return after


def postpone_speech(tx: Transaction, job: Job, *, until: datetime, reason: str) -> Job:
    """Let the text of a queued job be spoken later; `reason` says what it waits for."""
    return _update(
        tx,
        job,
        {JobState.QUEUED},
        speech_at=until,
        speech_tries=job.speech_tries + 1,
        stage_detail=reason[:200],
    )


def pay_for_speech(tx: Transaction, job: Job, usage: SpeechUsage, *, now: datetime) -> SpeechUsage:
    """Add what speech has cost to the job, to its key's expenses and to the ledger, in any state:
    the provider charges it, whatever becomes of the job. Returns the sum of the job's tries."""
    is_job = job_table.c.id == job.id
    earlier = tx.execute(sa.select(job_table.c.speech).where(is_job)).scalar()
    total = usage if earlier is None else usage.plus(SpeechUsage(**earlier))
    cost = microusd(usage.usd)
    if cost:
        actual = sa.func.coalesce(job_table.c.actual_microusd, 0) + cost
        values = {"actual_microusd": actual, "speech": total.model_dump()}
        tx.execute(sa.update(job_table).where(is_job).values(values))
        keys.pay_for_speech(tx, job.key_id, usage, now)
        tx.notify(topics.of_job(job.id))
    return total


def make_due(tx: Transaction, job: Job, *, now: datetime) -> Job:
    """Let a queued job start from now on."""
    after = _update(tx, job, {JobState.QUEUED}, run_at=now)
    tx.notify(topics.of_queue(job.request.model))
    return after


def restart(tx: Transaction, job: Job, *, now: datetime, lease: timedelta) -> Job:
    """Begin the attempt again in a newer container of its call; the older one's fence is stale."""
    return _update(
        tx,
        job,
        {JobState.RUNNING},
        fence=job.fence + 1,
        lease_until=now + lease,
        attempt_progress=0.0,
        stage=None,
        stage_detail=None,
    )


def heartbeat(
    tx: Transaction, job: Job, progress: Progress, *, now: datetime, lease: timedelta
) -> Job:
    """Extend the lease and record progress, which never falls and is 1 only for a finished job."""
    after = _update(
        tx,
        job,
        {JobState.RUNNING},
        stage=progress.stage,
        stage_detail=progress.detail,
        progress=max(job.progress, min(progress.fraction, 0.99)),
        attempt_progress=progress.fraction,
        lease_until=now + lease,
    )
    if _is_newsworthy(job, after):
        outbox.enqueue_latest(tx, "job.progress", after, now)
    return after


def _is_newsworthy(before: Job, after: Job) -> bool:
    """Tell whether progress is worth an event: another stage, or another 5 %."""
    return before.stage is not after.stage or int(before.progress * 20) < int(after.progress * 20)


def extend_lease(tx: Transaction, job: Job, *, now: datetime, lease: timedelta) -> Job:
    """Give an active job another lease, while its call is alive but silent."""
    return _update(tx, job, ACTIVE, lease_until=now + lease)


def request_cancel(tx: Transaction, job: Job, *, now: datetime) -> Job:
    return _update(tx, job, {JobState.RUNNING}, cancel_requested_at=job.cancel_requested_at or now)


def _update(
    tx: Transaction, job: Job, states: set[JobState] | frozenset[JobState], **values: Any
) -> Job:
    statement = (
        sa.update(job_table)
        .where(
            job_table.c.id == job.id, job_table.c.state.in_(states), job_table.c.fence == job.fence
        )
        .values(**values)
        .returning(job_table)
    )
    row = tx.execute(statement).mappings().first()
    if row is None:
        raise Lost("the job has changed since it was read")
    tx.notify(topics.of_job(job.id))
    return to_job(row)
