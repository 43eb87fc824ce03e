"""Convert between rows of the jobs table and the domain's Job."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from service.domain.job import RANKS, Job, JobError
from service.domain.media import kept_bytes
from service.domain.price import microusd
from service.domain.retry import RETRYABLE
from service.store.tables import JobRow

job_table: sa.Table = JobRow.__table__  # type: ignore[attr-defined]
_PRIORITIES = {rank: priority for priority, rank in RANKS.items()}


def to_row(job: Job) -> dict[str, Any]:
    """Return the columns set by a submit or a change of model; attempts set the others."""
    return {
        "id": job.id,
        "key_id": job.key_id,
        "state": job.state,
        "priority": RANKS[job.priority],
        "kind": job.request.kind,
        "model": job.request.model,
        "request": job.request.model_dump(),
        "profile": job.profile,
        "fallbacks": [fallback.model_dump(mode="json") for fallback in job.fallbacks] or None,
        "fell_back": [record.model_dump(mode="json") for record in job.fell_back] or None,
        "user_metadata": job.metadata,
        "input_bytes": kept_bytes(job.request.media.values()),
        "created_at": job.created_at,
        "run_at": job.run_at,
        "speech_at": job.speech_at,
        "start_timeout_seconds": job.start_timeout_seconds,
        "start_deadline_at": job.start_deadline_at,
        "timeout_seconds": job.timeout_seconds,
        "max_attempts": job.max_attempts,
        "estimated_microusd": microusd(job.estimated_usd),
        "rate_source": job.rate_source,
        "rate_gpu": job.rate_gpu,
        "usd_per_second": job.usd_per_second,
        "webhook_url": job.webhook_url,
        "webhook_events": job.webhook_events,
        "api": job.api,
        "api_url": job.api_url,
        "expected_ms": job.expected_ms,
        "retry_of": job.retry_of,
        "traceparent": job.traceparent,
    }


def to_job(row: Mapping[Any, Any]) -> Job:
    values = {name: row[name] for name in _SHARED}
    actual = row["actual_microusd"]
    return Job(
        **values,
        priority=_PRIORITIES[row["priority"]],
        metadata=row["user_metadata"],
        fallbacks=row["fallbacks"] or (),
        fell_back=row["fell_back"] or (),
        gpu_seconds=row["gpu_ms"] / 1000,
        estimated_usd=row["estimated_microusd"] / 1e6,
        actual_usd=None if actual is None else actual / 1e6,
        error=_to_error(row),
    )


# Columns that a Job carries under the same name and in the same unit.
_SHARED = tuple(
    name
    for name in Job.model_fields
    if name in job_table.c and name not in ("priority", "fallbacks", "fell_back")
)


def _to_error(row: Mapping[Any, Any]) -> JobError | None:
    if row["error_kind"] is None:
        return None
    return JobError(
        code=row["error_code"],
        kind=row["error_kind"],
        message=row["error_message"],
        retryable=row["error_kind"] in RETRYABLE,
        stage=row["stage"],
        attempt=row["attempt"],
    )
