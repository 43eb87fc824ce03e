"""A store of many jobs to measure in: 50 keys, four weeks, a webhook for each job."""

import random
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from service.domain import ids
from service.domain.bulk import MAX_JOBS, BulkState
from service.domain.event import DeliveryState
from service.domain.ids import JobId, KeyId
from service.domain.job import Job, JobState
from service.domain.key import Key, new_key, new_secret
from service.domain.request import VideoRequest
from service.store import keys
from service.store.admin_tables import BulkActionRow, BulkItemRow
from service.store.attempts import attempt_table
from service.store.database import Database
from service.store.engine import make_engine
from service.store.job_rows import job_table, to_row
from service.store.labels import label_table
from service.store.tables import DeliveryRow, LedgerRow

KEYS = 50
FIRST_SECRET = "first-key-first-key-first-key"
SPAN = timedelta(days=28)  # within the 30 for which a service keeps them
QUEUED = 500  # the newest jobs
MODELS = ("slate", "ltx-2b", "wan2.2-5b", "ltx-13b", "puppet", "mochi")
SHARES = (50, 25, 15, 5, 4.9, 0.1)
URL = "https://hooks.example.com/rushes"
_BATCH = 5_000
_deliveries: sa.Table = DeliveryRow.__table__  # type: ignore[attr-defined]
_ledger: sa.Table = LedgerRow.__table__  # type: ignore[attr-defined]
_bulk_actions: sa.Table = BulkActionRow.__table__  # type: ignore[attr-defined]
_bulk_items: sa.Table = BulkItemRow.__table__  # type: ignore[attr-defined]
_MINUTE = 60_000_000  # in the unit of an Instant


def fill(db: Database, url: str, count: int, *, now: datetime | None = None) -> list[Key]:
    """Insert jobs until now into an empty database; return their keys."""
    end, start = now or datetime.now(UTC), time.perf_counter()
    secrets = [FIRST_SECRET, *(new_secret() for _ in range(KEYS - 1))]
    owners = [
        new_key(secret, name=f"customer {n}", now=end - SPAN) for n, secret in enumerate(secrets)
    ]
    for owner in owners:
        db.write(lambda tx, owner=owner: keys.insert(tx, owner)).result()
    engine = make_engine(url)
    rows = _rows([owner.id for owner in owners], count, end)
    for _ in range(-(-count // _BATCH)):
        batch = [row for _, row in zip(range(_BATCH), rows, strict=False)]
        labels = [
            {"key_id": row["key_id"], "job_id": row["id"], "name": name, "text": text}
            for row in batch
            for name, text in row["user_metadata"].items()
        ]
        with engine.begin() as connection:
            connection.execute(sa.insert(job_table), batch)
            connection.execute(sa.insert(label_table), labels)
    with engine.begin() as connection:
        _insert_attempts(connection)
        _insert_deliveries(connection)
        _insert_ledger(connection, [owner.id for owner in owners], end)
        _insert_bulk_actions(connection, owners[0].id, count, end)
        count_ended(connection)
        _count_queued(connection)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("VACUUM ANALYZE")
    engine.dispose()
    print(f"{count:,} jobs in {time.perf_counter() - start:.0f} s", file=sys.stderr)
    return owners


def _rows(owners: list[KeyId], count: int, now: datetime) -> Iterator[dict[str, Any]]:
    draw = random.Random(7)
    template = to_row(_job(owners[0], now))
    for n in range(count):
        created_at = now - SPAN * (count - n) / count
        is_open = n >= count - QUEUED
        model = MODELS[0] if is_open else draw.choices(MODELS, SHARES)[0]
        row = template | {
            "id": f"{ids.first_at('job', created_at)[:14]}{n:016d}",
            "key_id": draw.choice(owners),
            "model": model,
            "kind": "avatar" if model == "puppet" else "video",
            "request": template["request"] | {"model": model, "prompt": f"a red ball, take {n}"},
            "user_metadata": {"scene": str(draw.randrange(1000))},
            "created_at": created_at,
            "run_at": created_at,
        }
        yield row | (_NO_END if is_open else _end(draw, created_at))


def _job(owner: KeyId, now: datetime) -> Job:
    request = VideoRequest(
        model="slate", prompt="", width=768, height=512, num_frames=120, fps=24,
        num_inference_steps=8, guidance_scale=1.0, seed=1,
    )  # fmt: skip
    return Job(
        id=JobId("job_"),
        key_id=owner,
        request=request,
        metadata={},
        state=JobState.QUEUED,
        priority="normal",
        created_at=now,
        run_at=now,
        timeout_seconds=600,
    )


_RESULT = {
    "artifacts": {
        name: {"key": f"jobs/x/1/{file}", "media_type": kind, "size_bytes": 1, "sha256": "0" * 64}
        for name, file, kind in (
            ("video", "video.mp4", "video/mp4"),
            ("thumbnail", "thumbnail.jpg", "image/jpeg"),
            ("last_frame", "last_frame.png", "image/png"),
        )
    },
    "width": 768,
    "height": 512,
    "fps": 24,
    "num_frames": 120,
}
_TIMES = {"load": 20, "generate": 9_000, "encode": 200, "upload": 100, "total": 9_400}


# Columns of a job that waits.
_NO_END = {
    "state": JobState.QUEUED,
    "attempt": 0,
    "fence": 0,
    "gpu_ms": 0,
    **dict.fromkeys(
        ("started_at", "finished_at", "actual_microusd", "expires_at", "result", "timings_ms")
    ),
    "cancel_requested_at": None,
    **dict.fromkeys(("error_kind", "error_message", "error_code")),
}


def _end(draw: random.Random, created_at: datetime) -> dict[str, Any]:
    """Return the columns of a job's end: one of a hundred fails, one of a thousand is rare."""
    state, code = JobState.SUCCEEDED, None
    if (chance := draw.random()) < 0.01:
        state, code = JobState.FAILED, "media_format" if chance < 0.00001 else "bad_video"
    elif chance < 0.02:
        state = JobState.CANCELED
    ended_at = created_at + timedelta(seconds=60)
    return {
        "state": state,
        "attempt": 1,
        "fence": 2,
        "started_at": created_at + timedelta(seconds=50),
        "finished_at": ended_at,
        "cancel_requested_at": ended_at if state is JobState.CANCELED else None,
        "actual_microusd": 20_000,
        "gpu_ms": 9_400,
        "expires_at": ended_at + SPAN if state is JobState.SUCCEEDED else None,
        "result": _RESULT if state is JobState.SUCCEEDED else None,
        "timings_ms": _TIMES if state is JobState.SUCCEEDED else None,
        "error_kind": "user" if code else None,
        "error_message": "it failed" if code else None,
        "error_code": code,
    }


def _insert_attempts(connection: sa.Connection) -> None:
    job = job_table.c
    created = sa.type_coerce(job.started_at, sa.BigInteger) - _MINUTE // 60
    values = {
        "job_id": job.id,
        "number": sa.literal(1),
        "model": job.model,
        "fence": sa.literal(2),
        "token_hash": sa.literal(bytes(32), sa.LargeBinary),
        "worker": sa.literal("local-1"),
        "restarts": sa.literal(0),
        "created_at": created,
        "started_at": job.started_at,
        "ended_at": job.finished_at,
        "outcome": job.state,
        "gpu_ms": job.gpu_ms,
        "cost_microusd": job.actual_microusd,
    }
    chosen = sa.select(*values.values()).where(job.started_at.is_not(None))
    connection.execute(sa.insert(attempt_table).from_select(list(values), chosen))


def _insert_deliveries(connection: sa.Connection) -> None:
    """Each job's end was delivered, but for those of a receiver that fails for one of a hundred."""
    job = job_table.c
    tries = [{"at": "2026-11-30T12:00:00Z", "status": 200, "error": None, "duration_ms": 80}]
    is_dead = job.state == JobState.FAILED
    values = {
        "id": sa.literal("msg_").concat(sa.func.substr(job.id, 5)),
        "key_id": job.key_id,
        "job_id": job.id,
        "event": sa.literal("job.").concat(sa.type_coerce(job.state, sa.String)),
        "url": sa.literal(URL),
        "host": sa.literal("hooks.example.com"),
        "state": sa.case(
            (is_dead, sa.literal(DeliveryState.DEAD.value)),
            else_=sa.literal(DeliveryState.DELIVERED.value),
        ),
        "attempt": sa.literal(1),
        "fence": sa.literal(1),
        "tries": sa.literal(tries, _deliveries.c.tries.type),
        "created_at": job.finished_at,
        "delivered_at": sa.case((is_dead, sa.null()), else_=job.finished_at),
    }
    chosen = sa.select(*values.values()).where(job.finished_at.is_not(None))
    connection.execute(sa.insert(_deliveries).from_select(list(values), chosen))


def _insert_ledger(connection: sa.Connection, owners: list[KeyId], now: datetime) -> None:
    rows = [
        {"key_id": owner, "day": (now - timedelta(days=n)).date(), "model": model, "gpu": "L40S",
         "jobs": 30, "gpu_ms": 300_000, "microusd": 600_000}
        for owner in owners for n in range(SPAN.days) for model in MODELS
    ]  # fmt: skip
    connection.execute(sa.insert(_ledger), rows)


def _insert_bulk_actions(
    connection: sa.Connection, owner: KeyId, count: int, now: datetime
) -> None:
    """More actions than a page of their list has: of a thousandth of all jobs each, and the newest
    of as many as there may be."""
    job = job_table.c
    for number, size in enumerate([count // 1_000 + 1] * 59 + [MAX_JOBS]):
        at = now - SPAN + timedelta(minutes=number)
        final = sa.select(job.id).where(job.finished_at.is_not(None)).limit(size)
        total = connection.execute(
            sa.select(sa.func.count()).select_from(final.subquery())
        ).scalar()
        action = {
            "id": f"{ids.first_at('blk', at)[:14]}{number:016d}",
            "key_id": owner,
            "act": "retry",
            "query": "?state=failed",
            "total": total,
            "state": BulkState.DONE,
            "created_at": at,
            "ended_at": at,
        }
        connection.execute(sa.insert(_bulk_actions), action)
        values = {
            "bulk_id": sa.literal(action["id"]),
            "job_id": job.id,
            "is_changed": job.state != JobState.FAILED,
            "outcome": sa.literal("retried as ").concat(job.id),
        }
        chosen = final.with_only_columns(*values.values())
        connection.execute(sa.insert(_bulk_items).from_select(list(values), chosen))


def count_ended(connection: sa.Connection) -> None:
    """Let the hours be those of the jobs, which were inserted past the service."""
    connection.exec_driver_sql("DELETE FROM hours")
    connection.exec_driver_sql(
        "INSERT INTO hours (hour, model, state, error_code, jobs, user_failures)"
        " SELECT finished_at / 3600000000 * 3600000000, model, state,"
        " coalesce(error_code, ''), count(*), count(CASE WHEN error_kind = 'user' THEN 1 END)"
        " FROM jobs WHERE finished_at IS NOT NULL GROUP BY 1, 2, 3, 4"
    )


def _count_queued(connection: sa.Connection) -> None:
    """Let the keys' counters be those of their queued jobs."""
    connection.exec_driver_sql(
        "UPDATE keys SET queued ="
        " (SELECT count(*) FROM jobs WHERE jobs.key_id = keys.id AND jobs.state = 'queued')"
    )
