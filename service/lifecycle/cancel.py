"""Request a job's cancellation, and end it at once if no worker has begun it."""

from datetime import datetime

from service.domain.ids import JobId, KeyId
from service.domain.job import Job, JobState
from service.domain.price import Charge
from service.lifecycle.find import find_for_update
from service.store import attempts, moves
from service.store.transaction import Transaction


def cancel(tx: Transaction, job_id: JobId, key_id: KeyId, now: datetime) -> Job:
    """Return the job afterwards: canceled, running with a cancel request, or final as before.

    A running worker learns of the request in the answer to its next report; a video that it
    finishes before is kept. Raises NotFound for a job that is not this key's.
    """
    job = find_for_update(tx, job_id, key_id)
    if job.state.final:
        return job
    if job.state is JobState.RUNNING:
        return moves.request_cancel(tx, job, now=now) or job
    no_charge = Charge(at=now)
    canceled_job = moves.cancel(tx, job, charge=no_charge)
    assert canceled_job is not None, "the job's row is locked"
    attempts.end(tx, canceled_job, outcome="canceled", charge=no_charge)
    return canceled_job
