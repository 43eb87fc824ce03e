"""What is kept of costs equals the sum it stands for, under random interleavings, over months."""

from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from benchmarks.store import count_ended
from service.artifacts.files import Files
from service.domain.attempt import Failure, FailureKind
from service.domain.errors import BudgetExceeded, Lost, NotFound
from service.domain.ids import KeyId
from service.domain.job import Idempotency, Job, JobFilter, Scope
from service.domain.limits import Limits
from service.domain.price import GPUS, MODAL_TABLE, Rates, month_of
from service.domain.retention import RetentionPolicy
from service.domain.terms import Terms
from service.lifecycle import report
from service.lifecycle.api_keys import set_monthly_budget
from service.lifecycle.claim import Claim
from service.lifecycle.jobs import request_cancel
from service.lifecycle.rescue import Rescuer
from service.lifecycle.retention import Retention
from service.store import job_lists, keys
from service.store.database import Database
from tests import make
from tests.chaos.scale import rounds, tell
from tests.make import submit

pytestmark = pytest.mark.slow

TERMS = Terms(Rates(MODAL_TABLE, GPUS, host=1e-5), RetentionPolicy(), make.MODELS)
LTX = make.request(model="ltx-2b", num_frames=9)
NAMES = [None, "NVIDIA L40S", "NVIDIA A10G", "NVIDIA L40"]
SECONDS = st.one_of(st.none(), st.integers(0, 5000).map(lambda ms: ms / 1000))
EVERY = JobFilter()
FAST = (Phase.explicit, Phase.generate, Phase.shrink)  # to explain is slow beyond any time-out


class Books(RuleBasedStateMachine):
    """Two keys; each end of an attempt is also written down here, as the test sees it."""

    held = Bundle("held")
    db: Database  # emptied for every run

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        make.empty(self.db)
        self.clock = make.FakeClock(datetime(2026, 11, 30, 23, 59, tzinfo=UTC))
        files = Files(Path(self.folder.name) / "a")
        self.rescuer = Rescuer(self.db, files, TERMS, make.PULLED)
        self.retention = Retention(self.db, files, RetentionPolicy())
        self.owners: list[KeyId] = []
        self.named: dict[str, str] = {}
        self.charged: dict[tuple[str, int], int] = {}  # by attempt: what it cost when it ended
        self.spent: Counter[tuple[str, int]] = Counter()  # by key and month
        self.ended: Counter[str] = Counter()  # by key: jobs that were ever final
        self.final: set[str] = set()

    @initialize()
    def two_keys(self) -> None:
        self.owners = [make.key(self.db)[0] for _ in range(2)]

    @rule(
        who=st.integers(0, 1),
        usd=st.sampled_from([0.0, 0.001, 0.4, 1.0]),
        slate=st.booleans(),
        name=st.sampled_from([None, None, "a", "b"]),
    )
    def submit(self, who: int, usd: float, slate: bool, name: str | None) -> None:
        """Accepted exactly if there is room for it, or if it was accepted before."""
        key_id = self.owners[who]
        label = f"{name}-{who}-{usd}-{slate}"
        named = None if name is None else Idempotency(label, b"f" * 32)
        asked = make.submission(
            key_id,
            request=make.request() if slate else LTX,
            estimated_usd=usd,
            idempotency=named,
            start_timeout=timedelta(seconds=90) if usd == 0.4 else None,
        )
        allowed = self.balance(key_id).allows(round(usd * 1e6))
        try:
            accepted = make.do(self.db, lambda tx: submit(tx, asked, Limits(), self.clock()))
        except BudgetExceeded:
            assert not allowed
        else:
            assert allowed or accepted.is_replay
            assert not accepted.is_replay or self.named[label] == accepted.job.id
            if named is not None:
                self.named[label] = accepted.job.id

    @rule(target=held)
    def begin(self) -> Any:
        claimed = make.claim(self.db, self.clock(), ("ltx-2b", "slate"))
        if claimed is None:
            return multiple()
        call = f"{claimed.job.id}.{claimed.job.attempt}"
        return claimed, make.begin(self.db, claimed, self.clock(), call_id=call)

    @rule(target=held, who=st.integers(0, 1))
    def submit_and_begin(self, who: int) -> Any:
        """So that more of a run is about what comes after."""
        self.submit(who, 0.001, slate=False, name=None)
        return self.begin()

    @rule()
    def claim_and_forget(self) -> None:
        make.claim(self.db, self.clock(), ("ltx-2b", "slate"))

    @rule(held=held)
    def begin_again(self, held: tuple[Claim, Job]) -> None:
        with suppress(Lost, NotFound):
            call = f"{held[1].id}.{held[1].attempt}"
            make.begin(self.db, held[0], self.clock(), call_id=call)

    @rule(held=held, seconds=SECONDS, gpu=st.sampled_from(NAMES))
    def finish(self, held: Any, seconds: float | None, gpu: str | None) -> None:
        spent = {"gpu_seconds": seconds or 0.0, "gpu": gpu}
        said = make.outcome(held[1]).model_copy(update=spent)
        self.tell(held, report.finish, outcome=said)

    @rule(
        held=held,
        seconds=SECONDS,
        gpu=st.sampled_from(NAMES),
        kind=st.sampled_from(["user", "transient", "internal", "canceled", "machine"]),
    )
    def fail(self, held: Any, seconds: float | None, gpu: str | None, kind: str) -> None:
        spent = {"gpu_seconds": seconds, "gpu": gpu}
        failure = Failure(kind=FailureKind(kind), code="x", message="y", **spent)
        self.tell(held, report.fail, failure=failure)

    @rule(held=held)
    def release(self, held: Any) -> None:
        self.tell(held, report.release)

    def tell(self, held: tuple[Claim, Job], act: Any, **said: Any) -> None:
        told = make.credentials(held[0])
        with suppress(Lost, NotFound):  # not found: with its job, which was too old to keep
            make.do(
                self.db,
                lambda tx: act(
                    tx, told, fence=held[1].fence, terms=TERMS, now=self.clock(), **said
                ),
            )

    @rule(who=st.integers(0, 1), number=st.integers(0, 5))
    def cancel(self, who: int, number: int) -> None:
        page = self.page(self.owners[who])
        if page:
            job = page[number % len(page)]
            make.do(self.db, lambda tx: request_cancel(tx, job.id, Scope(job.key_id), self.clock()))

    @rule(who=st.integers(0, 1), usd=st.sampled_from([None, 0.0, 0.5, 2.0]))
    def give(self, who: int, usd: float | None) -> None:
        budget = None if usd is None else round(usd * 1e6)
        key, now = self.owners[who], self.clock()
        make.do(self.db, lambda tx: set_monthly_budget(tx, key, budget, now, key))

    @rule(seconds=st.sampled_from([1, 10, 31, 61, 86_400, 17 * 86_400]))
    def time_passes(self, seconds: int) -> None:
        self.clock.advance(seconds)
        self.rescuer.tick(self.clock())
        self.note()
        self.retention.tick(self.clock())  # what is older than 30 days is gone, and still counts

    def note(self) -> dict[KeyId, list[Job]]:
        """Each attempt that has ended since the last look, by the moment of its end; returns the
        jobs of each owner."""
        ended = sa.text(
            "SELECT a.job_id, a.number, a.cost_microusd, a.ended_at, j.key_id FROM attempts a"
            " JOIN jobs j ON j.id = a.job_id WHERE a.ended_at IS NOT NULL"
        )
        for row in self.db.read(lambda tx: tx.execute(ended).all()):
            if (row.job_id, row.number) not in self.charged:
                self.charged[row.job_id, row.number] = row.cost_microusd
                at = datetime.fromtimestamp(row.ended_at / 1e6, UTC)
                self.spent[row.key_id, month_of(at)] += row.cost_microusd
        pages = {owner: self.page(owner) for owner in self.owners}
        for owner, page in pages.items():
            final = {job.id for job in page if job.state.final}
            self.ended[owner] += len(final - self.final)
            self.final |= final
        return pages

    @invariant()
    def what_is_kept_is_the_sum_of_what_was(self) -> None:
        for owner, page in self.note().items():
            self.balance_is_right(owner, page)
            self.ledger_has_every_end_once(owner)
            for job in page:
                self.job_costs_what_its_attempts_did(job)

    @invariant()
    def hours_count_the_jobs_that_are_there(self) -> None:
        query = sa.text("SELECT hour, model, state, error_code, jobs, user_failures FROM hours")
        kept = self.db.read(lambda tx: set(tx.execute(query).all()))

        make.do(self.db, lambda tx: count_ended(tx.connection))

        assert kept == self.db.read(lambda tx: set(tx.execute(query).all()))

    def balance_is_right(self, owner: KeyId, page: list[Job]) -> None:
        balance = self.balance(owner)
        opened = [job for job in page if not job.state.final]
        assert balance.reserved == sum(round(job.estimated_usd * 1e6) for job in opened)
        assert balance.spent == self.spent[owner, month_of(self.clock())]

    def ledger_has_every_end_once(self, owner: KeyId) -> None:
        booked = sa.text("SELECT sum(jobs), sum(microusd) FROM ledger WHERE key_id = :key")
        row = self.db.read(lambda tx: tx.execute(booked, {"key": owner}).one())
        spent = sum(usd for (key, _), usd in self.spent.items() if key == owner)
        assert (row[0] or 0, row[1] or 0) == (self.ended[owner], spent)

    def job_costs_what_its_attempts_did(self, job: Job) -> None:
        own = [usd for (job_id, _), usd in self.charged.items() if job_id == job.id]
        assert round((job.actual_usd or 0) * 1e6) == sum(own)
        assert not job.state.final or job.actual_usd is not None

    def balance(self, owner: KeyId) -> Any:
        month = month_of(self.clock())
        return self.db.read(lambda tx: keys.balance(tx, owner, month))

    def page(self, owner: KeyId) -> list[Job]:
        found: list[Job] = self.db.read(
            lambda tx: job_lists.page(tx, Scope(owner), size=100, filters=EVERY).jobs
        )
        return found

    def teardown(self) -> None:
        self.folder.cleanup()


def run_books(db: Database, runs: int, phases: Any = FAST) -> None:
    Books.db = db
    run_state_machine_as_test(
        Books,
        settings=settings(
            max_examples=runs,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
            print_blob=False,
            phases=phases,
        ),
    )


def test_no_interleaving_spoils_the_books(db: Database) -> None:
    runs = rounds(short=40, long=600) if db.local else rounds(short=15, long=120)

    run_books(db, runs)

    tell("random interleavings of costs", runs=runs, steps=30)


def test_without_the_roll_over_an_interleaving_spoils_them(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or else the test above would prove nothing."""
    counted = keys.add_to_counters

    def timeless(tx: Any, key_id: KeyId, *, cost: int, month: int, **more: int) -> None:
        counted(tx, key_id, cost=cost, month=0, **more)

    monkeypatch.setattr(keys, "add_to_counters", timeless)
    db = Database(sqlite_url, lambda topics: None)
    try:
        with pytest.raises(AssertionError):
            run_books(db, 40, phases=[Phase.generate])
    finally:
        db.close()
