"""The cost of an attempt: by its worker's measurement, or by its time from begin to end."""

from datetime import datetime, timedelta
from typing import NamedTuple

from service.domain.job import Job
from service.domain.price import Charge, Rates
from service.store import attempts
from service.store.transaction import Transaction

_MILLISECOND = timedelta(milliseconds=1)


class GpuTime(NamedTuple):
    """GPU seconds of an attempt as its worker measured them, and its GPU; None: not reported."""

    seconds: float | None = None
    gpu: str | None = None


_UNKNOWN = GpuTime()


def charge_of(
    tx: Transaction,
    job: Job,
    rates: Rates,
    now: datetime,
    gpu_time: GpuTime = _UNKNOWN,
) -> Charge:
    """Compute the charge for the newest attempt at `job`, ending now.

    The worker's measurement includes loading the model, but not containers of the attempt that
    died before. So the charge is at least the whole time since `begin` if a container died at
    work, if nothing was measured, or if a GPU is billed that the worker did not name.
    """
    seconds, gpu = gpu_time
    attempt = attempts.get(tx, job.id, job.attempt)
    model = job.request.model
    if attempt is None or not rates.needs_gpu(model):
        return Charge(now)
    since_begin = 0
    if attempt.started_at is not None:
        since_begin = max(0, (now - attempt.started_at) // _MILLISECOND)
    gpu_ms = round((seconds or 0.0) * 1000)
    is_measured = seconds is not None and (gpu is not None or not rates.billed)
    if not is_measured or (gpu is not None and attempt.restarts):
        gpu_ms = max(gpu_ms, since_begin)
    return Charge(now, gpu_ms, rates.actual(model, gpu) if gpu_ms else None, gpu)
