"""What an attempt has cost: as its worker measured it, or by the time from its begin to its end."""

from datetime import datetime, timedelta
from typing import NamedTuple

from service.domain.job import Job
from service.domain.price import Charge, Rates
from service.store import attempts
from service.store.transaction import Transaction

_MILLISECOND = timedelta(milliseconds=1)


class GpuTime(NamedTuple):
    """GPU seconds of an attempt as its worker measured them, and on which GPU; None where it did
    not."""

    seconds: float | None = None
    gpu: str | None = None


_UNKNOWN = GpuTime()


def charge_of(
    tx: Transaction,
    job: Job,
    rates: Rates,
    now: datetime,
    spent: GpuTime = _UNKNOWN,
) -> Charge:
    """The charge for the newest attempt at `job`, ending now.

    What the worker measured includes the loading of the model, but not what a container took that
    died before it; so where one died at work, or nothing was measured, and where a GPU
    is billed that the worker did not name, it is no less than the whole time since `begin`.
    """
    seconds, gpu = spent
    attempt = attempts.get(tx, job.id, job.attempt)
    model = job.request.model
    if attempt is None or not rates.needs_gpu(model):
        return Charge(now)
    since_begin = 0
    if attempt.started_at is not None:
        since_begin = max(0, (now - attempt.started_at) // _MILLISECOND)
    gpu_ms = round((seconds or 0.0) * 1000)
    measured = seconds is not None and (gpu is not None or not rates.billed)
    if not measured or (gpu is not None and attempt.restarts):
        gpu_ms = max(gpu_ms, since_begin)
    return Charge(now, gpu_ms, rates.actual(model, gpu) if gpu_ms else None, gpu)
