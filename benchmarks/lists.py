"""Lists in a store of many jobs: each single filter, of one key and of all keys.

Prints the p95 of each in milliseconds and as a multiple of the plain list's, which reads a page by
its primary order: `python -m benchmarks.lists --jobs 1000000 [--database-url postgresql://…]`.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from benchmarks.store import KEYS, SPAN, fill
from service.domain.event import DeliveryFilter, DeliveryState, EndpointId
from service.domain.ids import KeyId
from service.domain.job import JobFilter, JobState, Scope
from service.store import deliveries, job_lists
from service.store.database import Database
from service.store.schema import migrate
from service.store.transaction import Transaction

ROUNDS = 20
# The bound, of server time for a page of 50, whatever the filter matches.
MAX_P95_MS = 150.0
NOW = datetime(2026, 11, 30, tzinfo=UTC)
FILTERS = {
    "no filter": JobFilter(),
    "queued": JobFilter(states=(JobState.QUEUED,)),
    "expired, of which there is none": JobFilter(states=(JobState.EXPIRED,)),
    "failed": JobFilter(states=(JobState.FAILED,)),
    "a rare model": JobFilter(models=("mochi",)),
    "a model that nobody used": JobFilter(models=("hunyuan",)),
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
Page = Callable[[Transaction, KeyId | None], object]


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
            owner = fill(db, url, arguments.jobs, now=NOW)[0].id
            print(f"{arguments.jobs:,} jobs of {KEYS} keys; pages of 50; p95 of {ROUNDS} in ms")
            return measure(db, owner)
        finally:
            db.close()


def measure(db: Database, owner: KeyId) -> int:
    """Print the p95 of each list; return whether one is above the bound."""
    is_slow = False
    plain = 0.0
    for name, page in _pages(db).items():
        times = [_p95(db, partial(page, key_id=key_id)) for key_id in (owner, None)]
        plain = plain or times[1]
        is_slow |= max(times) > MAX_P95_MS
        print(
            f"  {name:34} one key {times[0]:7.1f}   all {times[1]:7.1f}   {times[1] / plain:5.1f} x"
        )
    if is_slow:
        print(f"missed: at most {MAX_P95_MS:g} ms")
    return int(is_slow)


def _pages(db: Database) -> dict[str, Page]:
    job_id = (
        db.read(lambda tx: job_lists.page(tx, Scope(None), size=1, filters=FILTERS["failed"]))
        .jobs[0]
        .id
    )
    of_deliveries = {
        "deliveries": DeliveryFilter(),
        "deliveries that are dead": DeliveryFilter(state=DeliveryState.DEAD),
        "deliveries, disabled: none": DeliveryFilter(state=DeliveryState.DISABLED),
        "deliveries of a job": DeliveryFilter(job_id=job_id),
        "deliveries of an endpoint": DeliveryFilter(endpoint_id=EndpointId("wep_" + "0" * 26)),
    }
    return {
        **{name: partial(_jobs, filters=filters) for name, filters in FILTERS.items()},
        **{name: partial(_deliveries, filters=each) for name, each in of_deliveries.items()},
    }


def _jobs(tx: Transaction, key_id: KeyId | None, *, filters: JobFilter) -> None:
    job_lists.page(tx, Scope(key_id), size=50, filters=filters)


def _deliveries(tx: Transaction, key_id: KeyId | None, *, filters: DeliveryFilter) -> None:
    deliveries.page(tx, key_id, size=50, filters=filters)


def _p95(db: Database, page: Callable[[Transaction], object]) -> float:
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        db.read(page)
        times.append((time.perf_counter() - start) * 1000)
    return statistics.quantiles(times, n=20)[-1]


if __name__ == "__main__":
    sys.exit(main())
