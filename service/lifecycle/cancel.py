"""Record the wish to cancel, and end the job at once where no worker has begun it."""

from datetime import datetime

from service.domain.ids import JobId, KeyId
from service.domain.job import Job, JobState
from service.domain.price import Charge
from service.lifecycle.find import hold
from service.store import attempts, moves
from service.store.transaction import Transaction


def cancel(tx: Transaction, job_id: JobId, key_id: KeyId, now: datetime) -> Job:
    """The job afterwards: canceled, or running with a wish, or final as it was.

    A running worker learns of the wish in the answer to its next report. What it finishes before
    that is kept: the GPU time is spent. Raises NotFound for a job that is not this key's.
    """
    job = hold(tx, job_id, key_id)
    if job.state.final:
        return job
    if job.state is JobState.RUNNING:
        return moves.request_cancel(tx, job, now=now) or job
    unbegun = Charge(at=now)
    canceled = moves.cancel(tx, job, charge=unbegun)
    assert canceled is not None, "a job that is held is not moved by others"
    attempts.end(tx, canceled, outcome="canceled", charge=unbegun)
    return canceled
