"""What a job has cost, whatever became of its attempts."""

from datetime import date, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from service.artifacts.files import Files
from service.domain.attempt import Failure, FailureKind, Progress
from service.domain.ids import KeyId
from service.domain.job import Job, JobState, Scope
from service.domain.limits import Limits
from service.domain.price import GPUS, MODAL_TABLE, Rates
from service.domain.retention import RetentionPolicy
from service.domain.terms import Terms
from service.lifecycle import report
from service.lifecycle.claim import Claim
from service.lifecycle.jobs import request_cancel
from service.lifecycle.report import GpuTime
from service.lifecycle.rescue import Rescuer
from service.lifecycle.retention import Retention
from service.store import jobs, keys, moves
from service.store.database import Database
from service.store.keys import Total
from tests import make
from tests.make import submit

TERMS = Terms(Rates(MODAL_TABLE, GPUS), RetentionPolicy(), make.MODELS)
L40S, H100 = 542, 1097  # millionths of a dollar a second
LTX = make.request(model="ltx-2b", num_frames=9)


def begin(db: Database, key_id: KeyId, clock: make.FakeClock) -> tuple[Claim, Job]:
    make.do(db, lambda tx: submit(tx, make.submission(key_id, request=LTX), Limits(), clock()))
    return again(db, clock)


def again(db: Database, clock: make.FakeClock) -> tuple[Claim, Job]:
    claimed = make.claim(db, clock(), ("ltx-2b",))
    return claimed, make.begin(db, claimed, clock(), call_id=call(claimed))


def call(claimed: Claim) -> str:
    return f"{claimed.job.id}.{claimed.job.attempt}"


def finish(db: Database, held: tuple[Claim, Job], now: Any, **spent: Any) -> Job:
    claimed, job = held
    outcome = make.outcome(job).model_copy(update=spent)
    told = make.credentials(claimed)
    done: Job = make.do(
        db,
        lambda tx: report.finish(tx, told, fence=job.fence, outcome=outcome, terms=TERMS, now=now),
    )
    return done


def fail(db: Database, held: tuple[Claim, Job], now: Any, kind: str, **spent: Any) -> Job:
    claimed, job = held
    failure = Failure(kind=FailureKind(kind), code="x", message="y", **spent)
    told = make.credentials(claimed)
    failed: Job = make.do(
        db,
        lambda tx: report.fail(tx, told, fence=job.fence, failure=failure, terms=TERMS, now=now),
    )
    return failed


def booked(db: Database, key_id: KeyId | None, group: Any = "model") -> list[Total]:
    year = (date(2026, 1, 1), date(2026, 12, 31))
    found: list[Total] = db.read(lambda tx: keys.totals(tx, group, *year, key_id=key_id))
    return found


def test_a_success_costs_what_its_worker_measured(
    db: Database, key_id: KeyId, clock: make.FakeClock
) -> None:
    held = begin(db, key_id, clock)

    job = finish(db, held, clock.advance(3), gpu_seconds=10.5, gpu="NVIDIA L40S")

    assert (job.gpu_seconds, job.actual_usd) == (10.5, 10.5 * L40S / 1e6)
    assert (job.rate_gpu, job.usd_per_second) == ("L40S", L40S / 1e6)
    assert job.rate_source == "L40S by Modal's list of 2026-07"
    assert db.read(lambda tx: jobs.get(tx, job.id)) == job


def test_failed_attempts_count_too(db: Database, key_id: KeyId, clock: make.FakeClock) -> None:
    first = begin(db, key_id, clock)
    queued = fail(db, first, clock(), "transient", gpu_seconds=4, gpu="NVIDIA L40S")
    assert (queued.state, queued.actual_usd) == (JobState.QUEUED, 4 * L40S / 1e6)
    clock.advance(60)

    job = finish(db, again(db, clock), clock(), gpu_seconds=2, gpu="NVIDIA H100 80GB HBM3")

    assert job.gpu_seconds == 6
    assert round(job.actual_usd * 1e6) == 4 * L40S + 2 * H100
    assert job.rate_gpu == "H100"
    per_attempt = "SELECT gpu_ms, cost_microusd FROM attempts ORDER BY number"
    found = db.read(lambda tx: tx.execute(sa.text(per_attempt)).all())
    assert [tuple(row) for row in found] == [(4000, 4 * L40S), (2000, 2 * H100)]
    assert booked(db, key_id) == [Total("ltx-2b", 1, 6000, 4 * L40S + 2 * H100)]


def test_a_failure_that_measured_nothing_costs_its_time_at_the_dearest_rate(
    db: Database, key_id: KeyId, clock: make.FakeClock
) -> None:
    held = begin(db, key_id, clock)

    job = fail(db, held, clock.advance(20), "user")

    assert (job.state, job.gpu_seconds) == (JobState.FAILED, 20)
    assert round(job.actual_usd * 1e6) == 20 * L40S  # A10 and L40S run it
    assert job.rate_source.startswith("no worker named its GPU; the highest for ltx-2b: L40S")


def test_a_success_that_named_no_gpu_is_never_silently_free(
    db: Database, key_id: KeyId, clock: make.FakeClock
) -> None:
    job = finish(db, begin(db, key_id, clock), clock.advance(20), gpu_seconds=0, gpu=None)

    assert round(job.actual_usd * 1e6) == 20 * L40S


def test_a_lost_attempt_costs_its_time(
    db: Database, key_id: KeyId, clock: make.FakeClock, tmp_path: Any
) -> None:
    begin(db, key_id, clock)
    rescuer = Rescuer(db, Files(tmp_path / "a"), TERMS, make.PULLED)

    rescuer.tick(clock.advance(31))

    assert booked(db, key_id) == [Total("ltx-2b", 0, 31_000, 31 * L40S)]


def test_a_container_that_died_in_between_counts_as_well(
    db: Database, key_id: KeyId, clock: make.FakeClock
) -> None:
    claimed, first = begin(db, key_id, clock)
    told = Progress(stage="generate", fraction=0.5)
    make.do(db, lambda tx: moves.heartbeat(tx, first, told, now=clock(), lease=make.LEASE))
    clock.advance(30)
    second = make.begin(db, claimed, clock(), call_id=call(claimed))

    job = finish(db, (claimed, second), clock.advance(9), gpu_seconds=8, gpu="NVIDIA L40S")

    assert job.gpu_seconds == 39


def test_an_attempt_that_was_given_back_costs_its_time(
    db: Database, key_id: KeyId, clock: make.FakeClock
) -> None:
    claimed, job = begin(db, key_id, clock)
    told, later = make.credentials(claimed), clock.advance(5)

    queued = make.do(
        db, lambda tx: report.release(tx, told, fence=job.fence, terms=TERMS, now=later)
    )

    assert (queued.state, queued.gpu_seconds) == (JobState.QUEUED, 5)


def test_an_attempt_that_was_given_back_costs_what_its_worker_measured(
    db: Database, key_id: KeyId, clock: make.FakeClock
) -> None:
    """Of two clips of one worker, one of which is only encoded yet, only one has the GPU."""
    claimed, job = begin(db, key_id, clock)
    told, later, spent = make.credentials(claimed), clock.advance(5), GpuTime(2.0, "NVIDIA L40S")

    queued = make.do(
        db,
        lambda tx: report.release(
            tx, told, fence=job.fence, terms=TERMS, now=later, gpu_time=spent
        ),
    )

    assert (queued.state, queued.gpu_seconds) == (JobState.QUEUED, 2)


def test_what_never_began_costs_nothing(db: Database, key_id: KeyId, clock: make.FakeClock) -> None:
    asked = make.submission(key_id, request=LTX, estimated_usd=1.5)
    job = make.do(db, lambda tx: submit(tx, asked, Limits(), clock())).job
    make.claim(db, clock(), ("ltx-2b",))

    gone = make.do(db, lambda tx: request_cancel(tx, job.id, Scope(key_id), clock.advance(99)))

    assert (gone.state, gone.actual_usd, gone.gpu_seconds) == (JobState.CANCELED, 0, 0)
    assert booked(db, key_id) == [Total("ltx-2b", 1, 0, 0)]


def test_the_webhook_says_what_the_job_has_cost(
    db: Database, key_id: KeyId, clock: make.FakeClock
) -> None:
    asked = make.submission(key_id, request=LTX, webhook_url="https://hooks.example.com/")
    make.do(db, lambda tx: submit(tx, asked, Limits(), clock()))

    job = finish(db, again(db, clock), clock(), gpu_seconds=3, gpu="NVIDIA L40S")

    ended = sa.text("SELECT snapshot FROM events WHERE kind = 'job.succeeded'")
    owed = db.read(lambda tx: tx.execute(ended).scalar_one())
    told = Job.model_validate_json(owed) if isinstance(owed, str) else Job.model_validate(owed)
    assert told.actual_usd == job.actual_usd == 3 * L40S / 1e6


def test_sums_stay_when_the_jobs_are_purged(
    db: Database, key_id: KeyId, clock: make.FakeClock, tmp_path: Any
) -> None:
    job = finish(db, begin(db, key_id, clock), clock(), gpu_seconds=2, gpu="NVIDIA L40S")
    before = booked(db, key_id)

    retention = Retention(db, Files(tmp_path / "a"), RetentionPolicy())
    retention.tick(clock.advance(40 * 86_400))

    assert db.read(lambda tx: jobs.get(tx, job.id)) is None
    assert booked(db, key_id) == before == [Total("ltx-2b", 1, 2000, 2 * L40S)]


def test_sums_are_by_day_by_model_and_by_key(
    db: Database, key_id: KeyId, clock: make.FakeClock
) -> None:
    stranger, _ = make.key(db)
    for owner, hours in ((key_id, 0), (key_id, 13), (stranger, 0)):
        held = begin(db, owner, clock)
        finish(db, held, clock.advance(3600 * hours), gpu_seconds=1, gpu="NVIDIA L40S")

    assert [(t.name, t.jobs) for t in booked(db, key_id, "day")] == [
        ("2026-11-23", 1),
        ("2026-11-24", 1),
    ]
    assert booked(db, stranger, "model") == [Total("ltx-2b", 1, 1000, L40S)]
    by_key = {total.name: total.microusd for total in booked(db, None, "key")}
    assert by_key == {key_id: 2 * L40S, stranger: L40S}


def test_only_the_days_asked_for_are_summed(
    db: Database, key_id: KeyId, clock: make.FakeClock
) -> None:
    for _ in range(3):
        finish(db, begin(db, key_id, clock), clock(), gpu_seconds=1, gpu="NVIDIA L40S")
        clock.advance(86_400)
    second = make.START.date() + timedelta(days=1)

    found = db.read(lambda tx: keys.totals(tx, "day", second, second, key_id=key_id))

    assert found == [Total(second.isoformat(), 1, 1000, L40S)]


@pytest.mark.parametrize(
    ("group", "owner", "index"),
    [
        ("day", "k", "sqlite_autoindex_ledger_1 (key_id=? AND day>? AND day<?)"),
        ("model", "k", "sqlite_autoindex_ledger_1 (key_id=? AND day>? AND day<?)"),
        ("key", None, "ix_ledger_day (day>? AND day<?)"),
    ],
)
def test_a_sum_reads_only_its_own_days(sqlite_url: str, group: Any, owner: Any, index: str) -> None:
    db = Database(sqlite_url, lambda topics: None)
    plans: list[Any] = []

    def explained(tx: Any) -> None:
        class Explaining:
            def execute(self, statement: sa.Select[Any]) -> list[Any]:
                dialect = tx.connection.dialect
                text = statement.compile(dialect=dialect, compile_kwargs={"literal_binds": True})
                plans.extend(tx.connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}").all())
                return []

        first = date(2026, 1, 1)
        keys.totals(Explaining(), group, first, first, key_id=owner)  # type: ignore[arg-type]

    db.read(explained)
    db.close()

    assert any(f"INDEX {index}" in step[3] for step in plans), plans
