"""Rows as the release of revision 0001 wrote them, in plain SQL: its code is gone."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from service.store.engine import make_engine

KEY = "key_06h0cqct31vp78ap2nmi51uars"
JOBS = {
    "queued": "job_06h0cqct31vp78ap2nmi51uar0",
    "running": "job_06h0cqct31vp78ap2nmi51uar1",
    "succeeded": "job_06h0cqct31vp78ap2nmi51uar2",
    "failed": "job_06h0cqct31vp78ap2nmi51uar3",
}
_NOON = 1_795_435_200_000_000  # 2026-11-23T12:00:00Z in microseconds
_DAY = 86_400_000_000


@dataclass(frozen=True)
class Written:
    key_id: str
    states: dict[str, str]


def at_noon() -> datetime:
    return datetime.fromtimestamp(_NOON / 1e6, UTC)


def write_rows(url: str) -> Written:
    """A key, a job in each kind of state with its attempts, and an Idempotency-Key."""
    engine = make_engine(url)
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO keys (id, name, prefix, secret_hash, admin, queued, created_at)"
                " VALUES (:id, 'first key', 'rsh_01234567', :hash, true, 1, :at)"
            ),
            {"id": KEY, "hash": bytes(32), "at": _NOON},
        )
        for state, job_id in JOBS.items():
            _write_job(connection, job_id, state)
        connection.execute(
            sa.text(
                "INSERT INTO idempotency (key_id, name, fingerprint, job_id, accepted, expires_at)"
                " VALUES (:key, 'order-1', :hash, :job, :accepted, :at)"
            ),
            {
                "key": KEY,
                "hash": bytes(32),
                "job": JOBS["queued"],
                "accepted": json.dumps(snapshot_of("queued")),
                "at": _NOON + _DAY,
            },
        )
    engine.dispose()
    return Written(KEY, {job_id: state for state, job_id in JOBS.items()})


def snapshot_of(state: str) -> dict[str, object]:
    """A job as it was copied into an idempotency record or a webhook."""
    at = "2026-11-23T12:00:00Z"
    return {
        "id": JOBS[state],
        "key_id": KEY,
        "state": state,
        "priority": "normal",
        "request": _REQUEST,
        "metadata": {},
        "created_at": at,
        "run_at": at,
        "timeout_seconds": 1800,
        **(
            {"result": _RESULT, "finished_at": at, "expires_at": at} if state == "succeeded" else {}
        ),
    }


def _write_job(connection: sa.Connection, job_id: str, state: str) -> None:
    attempts = 0 if state == "queued" else 1
    final = state in ("succeeded", "failed")
    values = {
        "id": job_id,
        "key_id": KEY,
        "state": state,
        "priority": 1,
        "model": "slate",
        "request": json.dumps(_REQUEST),
        "user_metadata": "{}",
        "progress": 0.0,
        "attempt": attempts,
        "max_attempts": 3,
        "fence": 2 * attempts,
        "lease_until": _NOON if state == "running" else None,
        "created_at": _NOON,
        "run_at": _NOON,
        "timeout_seconds": 1800,
        "finished_at": (_NOON if state == "succeeded" else _NOON + _DAY) if final else None,
        "result": json.dumps(_RESULT) if state == "succeeded" else None,
        "gpu_ms": 0,
        "estimated_microusd": 0,
        "error_kind": "internal" if state == "failed" else None,
        "error_code": "worker_error" if state == "failed" else None,
        "error_message": "it failed" if state == "failed" else None,
    }
    _insert(connection, "jobs", values)
    if attempts:
        ended = _NOON if final else None
        outcome = {"succeeded": "succeeded", "failed": "failed"}.get(state)
        _insert(
            connection,
            "attempts",
            {
                "job_id": job_id,
                "number": 1,
                "fence": 2,
                "token_hash": bytes(32),
                "worker": "w",
                "call_id": f"call {state}",
                "restarts": 0,
                "created_at": _NOON,
                "ended_at": ended,
                "outcome": outcome,
                "gpu_ms": 0,
                "cost_microusd": 0,
            },
        )


def _insert(connection: sa.Connection, table: str, values: dict[str, object]) -> None:
    columns, places = ", ".join(values), ", ".join(f":{name}" for name in values)
    connection.execute(sa.text(f"INSERT INTO {table} ({columns}) VALUES ({places})"), values)


_REQUEST = {
    "model": "slate",
    "prompt": "a red ball",
    "negative_prompt": None,
    "width": 64,
    "height": 64,
    "num_frames": 3,
    "fps": 12,
    "num_inference_steps": 30,
    "guidance_scale": 5.0,
    "seed": 7,
}


def _artifact(name: str, media_type: str) -> dict[str, object]:
    key = f"jobs/{JOBS['succeeded']}/2/{name}"
    return {"key": key, "media_type": media_type, "size_bytes": 3, "sha256": "0" * 64}


_RESULT = {
    "video": _artifact("video.mp4", "video/mp4"),
    "thumbnail": _artifact("thumbnail.jpg", "image/jpeg"),
    "last_frame": _artifact("last_frame.png", "image/png"),
    "width": 64,
    "height": 64,
    "fps": 12,
    "num_frames": 3,
    "has_audio": False,
    "sandbox": True,
}
