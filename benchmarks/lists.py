"""Lists in a store of many jobs: each single filter, of one key and of all keys.

Prints the p95 of each in milliseconds and as a multiple of the plain list's, which reads a page by
its primary order: `python -m benchmarks.lists --jobs 1000000 [--database-url postgresql://…]`.
"""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from service.domain import ids
from service.domain.ids import JobId, KeyId
from service.domain.job import Job, JobFilter, JobState
from service.domain.key import Scope, new_key, new_secret
from service.domain.request import VideoRequest
from service.store import job_lists, keys
from service.store.database import Database
from service.store.engine import make_engine
from service.store.job_rows import job_table, to_row
from service.store.labels import label_table
from service.store.schema import migrate

KEYS = 50
BATCH = 5_000
ROUNDS = 20
# The bound, of server time for a page of 50, whatever the filter matches.
MAX_P95_MS = 150.0
NOW = datetime(2026, 11, 30, tzinfo=UTC)
SPAN = timedelta(days=90)
FILTERS = {
    "no filter": JobFilter(),
    "queued, of which there is none": JobFilter(states=(JobState.QUEUED,)),
    "failed": JobFilter(states=(JobState.FAILED,)),
    "a rare model": JobFilter(models=("mochi",)),
    "a model that nobody used": JobFilter(models=("ltx-13b",)),
    "avatars": JobFilter(kinds=("avatar",)),
    "a rare error": JobFilter(error_code="media_format"),
    "an error that nobody had": JobFilter(error_code="timeout"),
    "a label": JobFilter(metadata={"scene": "7"}),
    "a label that nobody gave": JobFilter(metadata={"scene": "none"}),
    "created within a day": JobFilter(
        created_after=NOW - SPAN / 2, created_before=NOW - SPAN / 2 + timedelta(days=1)
    ),
    "ended within a day": JobFilter(
        ended_after=NOW - SPAN / 2, ended_before=NOW - SPAN / 2 + timedelta(days=1)
    ),
    "a word": JobFilter(words=("ball",)),
    "a word that nobody wrote": JobFilter(words=("zeppelin",)),
}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=200_000)
    parser.add_argument("--database-url", help="an empty Postgres; default: SQLite")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rushes-bench-") as folder:
        url = arguments.database_url or f"sqlite:///{Path(folder) / 'rushes.db'}"
        migrate(url)
        db = Database(url, lambda _: None)
        try:
            owner = _fill(db, url, arguments.jobs)
            return _measure(db, owner, arguments.jobs)
        finally:
            db.close()


def _fill(db: Database, url: str, count: int) -> KeyId:
    """Insert finished jobs of 50 keys over 90 days; return one of the keys."""
    owners = [new_key(new_secret(), name=f"k{n}", now=NOW) for n in range(KEYS)]
    for owner in owners:
        db.write(lambda tx, owner=owner: keys.insert(tx, owner)).result()
    rows = _rows([owner.id for owner in owners], count)
    engine = make_engine(url)
    for _ in range(-(-count // BATCH)):
        batch = [row for _, row in zip(range(BATCH), rows, strict=False)]
        labels = [
            {
                "key_id": row["key_id"],
                "name": "scene",
                "text": row["user_metadata"]["scene"],
                "job_id": row["id"],
            }
            for row in batch
        ]
        with engine.begin() as connection:
            connection.execute(sa.insert(job_table), batch)
            connection.execute(sa.insert(label_table), labels)
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("ANALYZE")
    return owners[0].id


def _rows(owners: list[KeyId], count: int) -> Iterator[dict[str, Any]]:
    draw = random.Random(7)
    request = VideoRequest(
        model="slate", prompt="", width=768, height=512, num_frames=120, fps=24,
        num_inference_steps=8, guidance_scale=1.0, seed=1,
    )  # fmt: skip
    for n in range(count):
        created_at = NOW - SPAN + SPAN * n / count
        job = Job(
            id=JobId(f"{ids.first_at('job', created_at)[:14]}{n:016d}"),
            key_id=draw.choice(owners),
            request=request.model_copy(update={"prompt": f"a red ball, take {n}"}),
            metadata={"scene": str(draw.randrange(1000))},
            state=JobState.QUEUED,
            priority="normal",
            created_at=created_at,
            run_at=created_at,
            timeout_seconds=600,
        )
        yield to_row(job) | _end(draw, created_at)


def _end(draw: random.Random, created_at: datetime) -> dict[str, Any]:
    """Return the columns of a job's end: one of a hundred fails, one of a thousand is rare."""
    failed = draw.random() < 0.01
    rare = draw.random() < 0.001
    return {
        "state": JobState.FAILED if failed else JobState.CANCELED,
        "model": "mochi" if rare else "slate",
        "kind": "avatar" if rare else "video",
        "finished_at": created_at + timedelta(seconds=60),
        "error_kind": "user" if failed else None,
        "error_message": "it failed" if failed else None,
        "error_code": ("media_format" if rare else "bad_video") if failed else None,
    }


def _measure(db: Database, owner: KeyId, count: int) -> int:
    print(f"{count:,} jobs of {KEYS} keys; pages of 50; p95 of {ROUNDS} in ms")
    is_slow = False
    plain = 0.0
    for name, filters in FILTERS.items():
        times = [_p95(db, scope, filters) for scope in (Scope(owner), Scope(None))]
        plain = plain or times[1]
        is_slow |= max(times) > MAX_P95_MS
        print(
            f"  {name:34} one key {times[0]:7.1f}   all {times[1]:7.1f}   {times[1] / plain:5.1f} x"
        )
    if is_slow:
        print(f"missed: at most {MAX_P95_MS:g} ms")
    return int(is_slow)


def _p95(db: Database, scope: Scope, filters: JobFilter) -> float:
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        db.read(lambda tx: job_lists.page(tx, scope, size=50, filters=filters))
        times.append((time.perf_counter() - start) * 1000)
    return statistics.quantiles(times, n=20)[-1]


if __name__ == "__main__":
    raise SystemExit(main())
