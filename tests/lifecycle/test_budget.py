"""A key's budget holds, whoever races, and at the turn of a month."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.domain.attempt import Failure, FailureKind
from service.domain.errors import BudgetExceeded, QueueFull
from service.domain.ids import KeyId
from service.domain.job import Idempotency, Job, JobState, Scope
from service.domain.limits import Limits
from service.domain.price import GPUS, Balance, Rates, month_of, table_of
from service.domain.retention import RetentionPolicy
from service.domain.terms import Terms
from service.lifecycle import report
from service.lifecycle.api_keys import set_monthly_budget
from service.lifecycle.jobs import request_cancel
from service.lifecycle.submit import Accepted
from service.store import keys, moves
from service.store.database import Database
from tests import make
from tests.make import submit

DOLLAR = 1_000_000
TERMS = Terms(Rates(table_of({"L40S": 0.01}, "a test"), GPUS), RetentionPolicy(), make.MODELS)
LTX = make.request(model="ltx-2b", num_frames=9)


def give(db: Database, key_id: KeyId, usd: float | None, now: datetime = make.START) -> None:
    budget = None if usd is None else round(usd * DOLLAR)
    make.do(db, lambda tx: set_monthly_budget(tx, key_id, budget, now, key_id))


def send(
    db: Database, key_id: KeyId, usd: float = 1.0, now: datetime = make.START, **changes: Any
) -> Accepted:
    asked = make.submission(key_id, request=LTX, estimated_usd=usd, **changes)
    accepted: Accepted = make.do(db, lambda tx: submit(tx, asked, Limits(), now))
    return accepted


def balance(db: Database, key_id: KeyId, now: datetime = make.START) -> Balance:
    found: Balance = db.read(lambda tx: keys.balance(tx, key_id, month_of(now)))
    return found


def run(db: Database, seconds: float, now: datetime, kind: str | None = None) -> Job:
    """Claim and begin the next job, and end its attempt after so many GPU seconds."""
    claimed = None
    while claimed is None:  # a key whose row another holds is passed over, until the next look
        claimed = make.claim(db, now, ("ltx-2b",))
    call = f"{claimed.job.id}.{claimed.job.attempt}"
    job, told = make.begin(db, claimed, now, call_id=call), make.credentials(claimed)
    spent = {"gpu_seconds": seconds, "gpu": "NVIDIA L40S"}
    if kind is not None:
        failure = Failure(kind=FailureKind(kind), code="x", message="y", **spent)
        work: Any = lambda tx: report.fail(  # noqa: E731
            tx, told, fence=job.fence, failure=failure, terms=TERMS, now=now
        )
    else:
        outcome = make.outcome(job).model_copy(update=spent)
        work = lambda tx: report.finish(  # noqa: E731
            tx, told, fence=job.fence, outcome=outcome, terms=TERMS, now=now
        )
    ended: Job = make.do(db, work)
    return ended


def test_the_last_cent_may_be_used_and_no_more(db: Database, key_id: KeyId) -> None:
    give(db, key_id, 2.5)
    send(db, key_id)
    send(db, key_id, 1.5)

    with pytest.raises(BudgetExceeded) as refused:
        send(db, key_id, 0.000001)

    told = refused.value
    assert (told.budget, told.spent, told.reserved, told.estimated) == (2.5, 0, 2.5, 0.000001)
    assert "$0.000001: of this month's budget of $2.50, $0.00 are spent and $2.50" in str(told)
    send(db, key_id, 0)  # what costs nothing passes nothing


def test_without_a_budget_nothing_is_too_much(db: Database, key_id: KeyId) -> None:
    send(db, key_id, 1e9)

    assert balance(db, key_id) == Balance(None, 0, 10**15)


def test_a_budget_of_nothing_refuses_whatever_costs(db: Database, key_id: KeyId) -> None:
    give(db, key_id, 0)

    with pytest.raises(BudgetExceeded):
        send(db, key_id, 0.01)
    send(db, key_id, 0)


def test_a_key_spends_from_its_own_budget_alone(db: Database, key_id: KeyId) -> None:
    stranger, _ = make.key(db)
    give(db, key_id, 1)
    give(db, stranger, 1)
    send(db, stranger)

    send(db, key_id)

    assert balance(db, key_id) == balance(db, stranger) == Balance(DOLLAR, 0, DOLLAR)


def test_at_its_end_a_job_gives_back_what_it_did_not_cost(db: Database, key_id: KeyId) -> None:
    give(db, key_id, 1)
    send(db, key_id)

    run(db, seconds=25, now=make.START)

    assert balance(db, key_id) == Balance(DOLLAR, DOLLAR // 4, 0)
    send(db, key_id, 0.75)


def test_what_a_job_costs_above_its_estimate_counts_against_the_next(
    db: Database, key_id: KeyId
) -> None:
    give(db, key_id, 1)
    send(db, key_id)

    done = run(db, seconds=130, now=make.START)

    assert (done.state, done.actual_usd) == (JobState.SUCCEEDED, 1.3)
    assert balance(db, key_id).remaining == 0
    with pytest.raises(BudgetExceeded):
        send(db, key_id, 0.01)


def test_an_attempt_that_is_tried_again_has_spent_and_keeps_its_place(
    db: Database, key_id: KeyId
) -> None:
    give(db, key_id, 2)
    send(db, key_id)

    queued = run(db, seconds=50, now=make.START, kind="transient")

    assert queued.state is JobState.QUEUED
    assert balance(db, key_id) == Balance(2 * DOLLAR, DOLLAR // 2, DOLLAR)


@pytest.mark.parametrize("how", ["cancel", "expire"])
def test_what_ends_before_it_began_gives_all_back(db: Database, key_id: KeyId, how: str) -> None:
    job = send(db, key_id).job
    make.do(
        db,
        lambda tx: (
            request_cancel(tx, job.id, Scope(key_id), make.START)
            if how == "cancel"
            else moves.expire(tx, job, now=make.START)
        ),
    )

    assert balance(db, key_id) == Balance(None, 0, 0)


def test_a_replay_is_never_refused(db: Database, key_id: KeyId) -> None:
    give(db, key_id, 1)
    named = Idempotency("order-1", b"a" * 32)
    first = send(db, key_id, idempotency=named)

    again = send(db, key_id, idempotency=named)

    assert (again.is_replay, again.job.id) == (True, first.job.id)


def test_a_retry_is_a_new_job(db: Database, key_id: KeyId) -> None:
    give(db, key_id, 1)
    send(db, key_id)
    failed = run(db, seconds=1, now=make.START, kind="user")

    with pytest.raises(BudgetExceeded):
        send(db, key_id, 1, retry_of=failed.id)


def test_a_refused_job_leaves_nothing_behind(db: Database, key_id: KeyId) -> None:
    give(db, key_id, 0.5)
    named = Idempotency("order-1", b"a" * 32)
    with pytest.raises(BudgetExceeded):
        send(db, key_id, idempotency=named)

    assert db.read(keys.count_queued) == 0
    assert balance(db, key_id).reserved == 0
    give(db, key_id, None)
    assert not send(db, key_id, idempotency=named).is_replay


def test_a_full_queue_is_told_from_an_empty_purse(db: Database, key_id: KeyId) -> None:
    give(db, key_id, 5)
    full = Limits(max_queued_per_key=0)
    asked = make.submission(key_id, request=LTX, estimated_usd=1.0)

    with pytest.raises(QueueFull):
        make.do(db, lambda tx: submit(tx, asked, full, make.START))


def test_a_new_month_begins_with_nothing_spent(db: Database, key_id: KeyId) -> None:
    clock = make.FakeClock(datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC))
    give(db, key_id, 1)
    send(db, key_id, 1, clock())
    run(db, seconds=100, now=clock())
    with pytest.raises(BudgetExceeded):
        send(db, key_id, 0.01, clock())

    clock.advance(1)

    assert balance(db, key_id, clock()) == Balance(DOLLAR, 0, 0)
    send(db, key_id, 1, clock())


def test_what_is_open_over_the_turn_is_spent_in_the_month_of_its_end(
    db: Database, key_id: KeyId
) -> None:
    clock = make.FakeClock(datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC))
    give(db, key_id, 1)
    send(db, key_id, 0.75, clock())
    clock.advance(1)

    with pytest.raises(BudgetExceeded):  # it still holds its place
        send(db, key_id, 0.5, clock())
    run(db, seconds=20, now=clock())

    assert balance(db, key_id, clock()) == Balance(DOLLAR, DOLLAR // 5, 0)


def test_a_clock_that_is_set_back_over_the_turn_forgets_nothing(
    db: Database, key_id: KeyId
) -> None:
    january = datetime(2027, 1, 1, tzinfo=UTC)
    give(db, key_id, 1)
    send(db, key_id, 1, january)
    run(db, seconds=100, now=january)

    with pytest.raises(BudgetExceeded):
        send(db, key_id, 0.01, january - timedelta(seconds=1))
    assert balance(db, key_id, january).spent == DOLLAR


def test_a_budget_that_is_lowered_stops_the_next_job_and_no_other(
    db: Database, key_id: KeyId
) -> None:
    give(db, key_id, 5)
    send(db, key_id, 3)

    give(db, key_id, 1)

    assert balance(db, key_id).remaining == 0
    with pytest.raises(BudgetExceeded):
        send(db, key_id, 0.01)
    assert run(db, seconds=1, now=make.START).state is JobState.SUCCEEDED


def tries(db: Database, key_id: KeyId, count: int) -> int:
    """How many of so many submits of a dollar are accepted."""
    accepted = 0
    for _ in range(count):
        try:
            send(db, key_id)
        except BudgetExceeded:
            continue
        accepted += 1
    return accepted


def test_four_threads_cannot_pass_a_budget(db: Database, key_id: KeyId) -> None:
    give(db, key_id, 17.5)

    with ThreadPoolExecutor(4) as pool:
        accepted = list(pool.map(lambda _: tries(db, key_id, 25), range(4)))

    assert sum(accepted) == 17
    assert balance(db, key_id).reserved == 17 * DOLLAR


@pytest.mark.slow
def test_four_processes_cannot_pass_a_budget(postgres_url: str) -> None:
    db = Database(postgres_url, lambda topics: None)
    key_id, _ = make.key(db)
    give(db, key_id, 17.5)
    code = (
        "import sys; from service.store.database import Database;"
        "from tests.lifecycle.test_budget import tries;"
        "db = Database(sys.argv[1], lambda topics: None); print('ready', flush=True);"
        "sys.stdin.readline(); print(tries(db, sys.argv[2], 25)); db.close()"
    )
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    racers = [
        subprocess.Popen([sys.executable, "-c", code, postgres_url, key_id], **pipes)
        for _ in range(4)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(lambda one: one.communicate("go\n", timeout=120)[0], racers))

    reserved = balance(db, key_id).reserved
    db.close()
    assert sum(map(int, said)) == 17
    assert reserved == 17 * DOLLAR


def test_ends_that_race_with_submits_lose_no_cent(postgres_url: str) -> None:
    """Two processes: what one books, the guard of the other sees, though it waited for the row."""
    ours, theirs = (Database(postgres_url, lambda topics: None) for _ in range(2))
    key_id, _ = make.key(ours)
    give(ours, key_id, 30)
    for _ in range(20):
        send(ours, key_id, 1)

    def end_all(_: int) -> int:
        for _ in range(20):
            run(ours, seconds=100, now=make.START)  # as dear as it was estimated
        return 0

    with ThreadPoolExecutor(2) as pool:
        ending = pool.submit(end_all, 0)
        accepted = pool.submit(tries, theirs, key_id, 60)
        ending.result()
        more = accepted.result()
    left = balance(ours, key_id)
    for db in (ours, theirs):
        db.close()

    assert more == 10
    assert left == Balance(30 * DOLLAR, 20 * DOLLAR, 10 * DOLLAR)


def test_of_one_name_that_two_processes_send_both_are_answered(postgres_url: str) -> None:
    """Though there is money for one: the second is a replay, not a job that cannot be paid."""
    databases = [Database(postgres_url, lambda topics: None) for _ in range(4)]
    key_id, _ = make.key(databases[0])
    for number in range(10):
        give(databases[0], key_id, number + 1)
        named = Idempotency(f"order-{number}", b"a" * 32)
        with ThreadPoolExecutor(4) as pool:
            answers = list(
                pool.map(lambda db, named=named: send(db, key_id, idempotency=named), databases)
            )
        assert len({answer.job.id for answer in answers}) == 1
    for db in databases:
        db.close()
