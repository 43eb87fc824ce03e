"""All that the page of one job shows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from service.admin.visit import ALL_JOBS
from service.domain.event import Delivery, DeliveryFilter
from service.domain.ids import JobId
from service.domain.job import Job, JobState
from service.domain.queue_order import Forecast
from service.domain.request import JobRequest
from service.lifecycle.jobs import find
from service.runtime.diagnosis import Reason, read_situation, why_waiting
from service.runtime.runtime import Runtime
from service.store import attempts, deliveries, jobs, keys
from service.store.attempts import Attempt
from service.store.statistics import WaitingGroup
from service.store.transaction import Transaction

# Of a request: shown elsewhere on the page, or of no interest to people.
_HIDDEN = frozenset({"kind", "model"})


@dataclass(frozen=True)
class Change:
    """A parameter that a retry changed."""

    name: str
    before: Any
    after: Any


@dataclass(frozen=True)
class JobView:
    """A job with its history and its relatives."""

    job: Job
    key_name: str
    attempts: Sequence[Attempt]
    deliveries: Sequence[Delivery]
    parent: Job | None
    retries: Sequence[Job]
    reason: Reason | None  # why it waits
    forecast: Forecast | None = None

    def with_forecast(self, forecast: Forecast) -> "JobView":
        return replace(self, forecast=forecast)

    @property
    def parameters(self) -> dict[str, Any]:
        """Return what the request says."""
        return {
            name: value for name, value in _flat(self.job.request).items() if name not in _HIDDEN
        }

    @property
    def changes(self) -> list[Change]:
        """Return what differs from the job that this one retries."""
        return [] if self.parent is None else diff(self.parent.request, self.job.request)

    @property
    def stages(self) -> dict[str, int]:
        """Return the milliseconds of each stage: until the last attempt was claimed, until its
        worker began, and those that the worker measured."""
        measured = {k: ms for k, ms in (self.job.timings_ms or {}).items() if k != "total" and ms}
        if not measured or not self.attempts:
            return measured
        last = self.attempts[-1]
        begun_at = last.started_at or last.created_at
        waits = {
            "queue": last.created_at - self.job.created_at,
            "start": begun_at - last.created_at,
        }
        return {name: int(wait.total_seconds() * 1000) for name, wait in waits.items()} | measured

    @property
    def events(self) -> list[tuple[datetime, str]]:
        """Return what happened to the job, in order."""
        found = [(self.job.created_at, "submitted")]
        for attempt in self.attempts:
            number = f"attempt {attempt.number}"
            found.append((attempt.created_at, f"{number} claimed by {attempt.worker}"))
            if attempt.started_at is not None:
                found.append((attempt.started_at, f"{number} begun"))
            if attempt.ended_at is not None:
                found.append((attempt.ended_at, f"{number} {attempt.outcome}"))
        if self.job.cancel_requested_at is not None:
            found.append((self.job.cancel_requested_at, "cancel requested"))
        if self.job.finished_at is not None:
            found.append((self.job.finished_at, str(self.job.state)))
        return sorted(found, key=lambda event: event[0])


def read_job(tx: Transaction, runtime: Runtime, job_id: JobId) -> JobView:
    """Read a job, whosever it is. Raises NotFound."""
    job = find(tx, job_id, ALL_JOBS)
    tries = DeliveryFilter(job_id=job.id)
    return JobView(
        job=job,
        key_name=keys.names(tx)[job.key_id],
        attempts=attempts.of_job(tx, job.id),
        deliveries=deliveries.page(tx, job.key_id, size=20, filters=tries),
        parent=None if job.retry_of is None else jobs.get(tx, job.retry_of),
        retries=jobs.retries_of(tx, job.id),
        reason=_reason(tx, runtime, job),
    )


def _reason(tx: Transaction, runtime: Runtime, job: Job) -> Reason | None:
    if job.state is not JobState.QUEUED:
        return None
    group = WaitingGroup(job.request.model, job.key_id, 1, job.created_at, job.run_at)
    return why_waiting(runtime, group, read_situation(tx, runtime, [group.model]))


def diff(before: JobRequest, after: JobRequest) -> list[Change]:
    """Return the parameters that differ."""
    old, new = _flat(before), _flat(after)
    names = [*old, *(name for name in new if name not in old)]
    return [
        Change(name, old.get(name), new.get(name))
        for name in names
        if old.get(name) != new.get(name) and name != "kind"
    ]


def _flat(request: JobRequest) -> dict[str, Any]:
    """Return the parameters that are set, as people read them; files by their type and size."""
    values = request.model_dump(mode="json", exclude_none=True)
    media = {
        name: f"{ref.media_type or ref.source}"
        + (f", {ref.width}x{ref.height}" if ref.width and ref.height else "")
        + (f", {ref.size_bytes:,} bytes" if ref.size_bytes else "")
        for name, ref in request.media.items()
    }
    plain = {k: v for k, v in values.items() if k not in ("keyframes", *media) and v != ""}
    words = {k: ("no", "yes")[v] for k, v in plain.items() if isinstance(v, bool)}
    return plain | words | media
