"""The life of a job under random interleavings, with workers that never forget."""

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import timedelta
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
    rule,
    run_state_machine_as_test,
)

from service.artifacts.files import Files
from service.domain.attempt import Failure, FailureKind, Progress
from service.domain.errors import Lost, RequestRefused
from service.domain.event import Delivery, DeliveryFilter
from service.domain.ids import KeyId
from service.domain.job import (
    ACTIVE,
    MOVES,
    FallbackRecord,
    Idempotency,
    Job,
    JobFilter,
    JobState,
    ModelChoice,
    Scope,
)
from service.domain.limits import Limits
from service.domain.retry import MAX_LAPSED
from service.lifecycle import report
from service.lifecycle.claim import Claim
from service.lifecycle.jobs import request_cancel
from service.lifecycle.rescue import Rescuer
from service.store import deliveries, job_lists, jobs, moves
from service.store.database import Database
from service.store.transaction import Transaction
from tests import make
from tests.chaos.scale import rounds, tell
from tests.make import submit

pytestmark = pytest.mark.slow

MODELS = ("slate", "second")
Row = sa.Row[Any]
KINDS = ("user", "transient", "oom", "internal", "canceled", "machine")


class Machine(RuleBasedStateMachine):
    """Workers hold what they were told at claim and begin, and go on reporting it for ever."""

    claims = Bundle("claims")
    begun = Bundle("begun")
    db: Database  # emptied for every run: opening one costs more than a run

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        make.empty(self.db)
        self.clock = make.FakeClock()
        files = Files(Path(self.folder.name) / "a")
        self.rescuer = Rescuer(self.db, files, make.TERMS, make.PULLED)
        self.seen: dict[str, JobState] = {}
        self.named: dict[str, str] = {}
        self.gave_up: dict[str, tuple[FallbackRecord, ...]] = {}
        self.calls = 0

    @initialize()
    def first_key(self) -> None:
        self.key_id: KeyId = make.key(self.db)[0]
        self.scope = Scope(self.key_id)

    @rule(
        priority=st.sampled_from(["low", "normal", "high"]),
        name=st.sampled_from([None, "a", "b"]),
        others=st.sampled_from([(), ("second",)]),
    )
    def submit(self, priority: str, name: str | None, others: tuple[str, ...]) -> None:
        """With or without an Idempotency-Key, whose same one always finds the same job; with or
        without another model that may take it over."""
        named = None if name is None else Idempotency(f"{name}-{priority}", b"f" * 32)
        asked = make.submission(
            self.key_id,
            priority=priority,
            idempotency=named,
            webhook_url="https://hooks.example.com/",
            start_timeout=timedelta(seconds=90) if priority == "low" else None,
            fallbacks=tuple(
                ModelChoice(request=make.request(model=other), expected_ms=1) for other in others
            ),
        )
        accepted = make.do(self.db, lambda tx: submit(tx, asked, Limits(), self.clock()))
        if named is not None:
            assert self.named.setdefault(named.name, accepted.job.id) == accepted.job.id

    @rule(target=claims)
    def claim(self) -> Claim | None:
        claimed: Claim | None = make.claim(self.db, self.clock(), MODELS)
        return claimed

    @rule(target=begun, claimed=claims)
    def begin(self, claimed: Claim | None) -> tuple[Claim, Job] | None:
        if claimed is None:
            return None
        self.calls += 1
        try:
            return claimed, make.begin(self.db, claimed, self.clock(), call_id=f"c{self.calls}")
        except Lost:
            return None

    @rule(held=begun, fraction=st.floats(0, 1))
    def progress(self, held: tuple[Claim, Job] | None, fraction: float) -> None:
        if held is None:
            return
        told = Progress(stage="generate", fraction=fraction)
        self.report(
            held,
            lambda tx: report.progress(
                tx,
                make.credentials(held[0]),
                fence=held[1].fence,
                update=told,
                lease=make.LEASE,
                now=self.clock(),
            ),
        )

    @rule(held=begun)
    def finish(self, held: tuple[Claim, Job] | None) -> None:
        if held is None:
            return
        said = make.outcome(held[1])
        self.report(
            held,
            lambda tx: report.finish(
                tx,
                make.credentials(held[0]),
                fence=held[1].fence,
                outcome=said,
                terms=make.TERMS,
                now=self.clock(),
            ),
            again=JobState.SUCCEEDED,
        )

    @rule(held=begun, kind=st.sampled_from(KINDS))
    def fail(self, held: tuple[Claim, Job] | None, kind: str) -> None:
        if held is None:
            return
        failure = Failure(kind=FailureKind(kind), code="x", message="y")
        self.report(
            held,
            lambda tx: report.fail(
                tx,
                make.credentials(held[0]),
                fence=held[1].fence,
                failure=failure,
                terms=make.TERMS,
                now=self.clock(),
            ),
        )

    @rule(held=begun)
    def release(self, held: tuple[Claim, Job] | None) -> None:
        if held is None:
            return
        self.report(
            held,
            lambda tx: report.release(
                tx,
                make.credentials(held[0]),
                fence=held[1].fence,
                terms=make.TERMS,
                now=self.clock(),
            ),
        )

    def report(self, held, act, again: JobState | None = None) -> None:  # type: ignore[no-untyped-def]
        """A report holds exactly if its fence is the running job's (or said the same before)."""
        before = self.db.read(lambda tx: jobs.get(tx, held[1].id))
        owns = before.state is JobState.RUNNING and before.fence == held[1].fence
        repeats = before.state is again and before.fence == held[1].fence
        try:
            make.do(self.db, act)
        except Lost:
            assert not owns
            assert not repeats
            assert self.db.read(lambda tx: jobs.get(tx, held[1].id)) == before
        else:
            assert owns or repeats

    @rule(claimed=claims)
    def begin_again(self, claimed: Claim | None) -> None:
        """The answer to a begin was lost: the same call says it once more."""
        if claimed is None or self.calls == 0:
            return
        with suppress(Lost):
            make.begin(self.db, claimed, self.clock(), call_id=f"c{self.calls}")

    @rule(target=begun, claimed=claims)
    def begin_in_two_containers(self, claimed: Claim | None) -> tuple[Claim, Job] | None:
        """The same call was delivered twice; the older container goes on to report."""
        older = self.begin(claimed)
        if older is not None:
            make.begin(self.db, older[0], self.clock(), call_id=f"c{self.calls}")
        return older

    @rule(held=begun)
    def die_with_the_bytes_kept(self, held: tuple[Claim, Job] | None) -> None:
        """All is written, the manifest last, and nobody will call finish."""
        if held is not None:
            outcome = make.outcome(held[1])
            make.leave_manifest(
                self.rescuer.artifacts,
                Path(self.folder.name),
                held[1].artifact_prefix,
                outcome.model_dump_json(),
            )

    @rule(number=st.integers(0, 5))
    def cancel(self, number: int) -> None:
        page = self.db.read(
            lambda tx: job_lists.page(tx, Scope(self.key_id), size=100, filters=JobFilter()).jobs
        )
        if page:
            job = page[number % len(page)]
            make.do(
                self.db, lambda tx: request_cancel(tx, job.id, Scope(self.key_id), self.clock())
            )

    @rule(seconds=st.sampled_from([1, 10, 31, 61, -20]))
    def time_passes(self, seconds: int) -> None:
        self.clock.advance(seconds)
        self.rescuer.tick(self.clock())

    @invariant()
    def every_promise_holds(self) -> None:
        """All are judged by the same look: the looks would cost more than the steps."""
        if not hasattr(self, "key_id"):
            return
        page, kept, owed, attempts = self.db.read(self.look)
        self.every_move_was_legal_and_final_is_final(page)
        self.what_is_kept_of_each_key_is_counted_right(page, kept)
        self.every_end_is_owed_once_and_no_other(page, owed)
        self.no_job_has_two_open_attempts_and_only_an_active_one_has_one(page, attempts)
        self.starts_that_nobody_began_are_bounded(page, attempts)
        self.models_take_over_in_their_order_and_once(page)

    def look(self, tx: Transaction) -> tuple[list[Job], Row, list[Delivery], Sequence[Row]]:
        query = tx.connection.exec_driver_sql
        return (
            job_lists.page(tx, self.scope, size=100, filters=JobFilter()).jobs,
            query("SELECT queued, active FROM keys").one(),
            deliveries.page(tx, self.key_id, size=500, filters=DeliveryFilter()),
            query("SELECT job_id, model, outcome, ended_at FROM attempts").all(),
        )

    def every_move_was_legal_and_final_is_final(self, page: list[Job]) -> None:
        for job in page:
            before = self.seen.get(job.id, JobState.QUEUED)
            # Between two looks a job may have made several moves, but none out of a final state.
            assert not before.final or before is job.state
            assert before is job.state or MOVES[before]
            assert job.attempt <= job.max_attempts
            assert (job.lease_until is not None) == (job.state in ("starting", "running"))
            self.seen[job.id] = job.state
        assert set(self.seen) == {job.id for job in page}

    def what_is_kept_of_each_key_is_counted_right(self, page: list[Job], kept: Row) -> None:
        states = Counter(job.state for job in page)
        assert tuple(kept) == (
            states[JobState.QUEUED],
            states[JobState.STARTING] + states[JobState.RUNNING],
        )

    def every_end_is_owed_once_and_no_other(self, page: list[Job], owed: list[Delivery]) -> None:
        ended = {(job.id, f"job.{job.state}") for job in page if job.state.final}
        assert sorted((one.job_id, one.event) for one in owed) == sorted(ended)

    def no_job_has_two_open_attempts_and_only_an_active_one_has_one(
        self, page: list[Job], attempts: Sequence[Row]
    ) -> None:
        found = [row.job_id for row in attempts if row.ended_at is None]
        assert sorted(found) == sorted(job.id for job in page if job.state in ACTIVE)

    def starts_that_nobody_began_are_bounded(
        self, page: list[Job], attempts: Sequence[Row]
    ) -> None:
        counts = Counter((row.job_id, row.model) for row in attempts if row.outcome == "lapsed")
        for job in page:
            assert counts[job.id, job.request.model] <= MAX_LAPSED
            failed = job.error is not None and job.error.code == "never_begun"
            assert failed == (counts[job.id, job.request.model] == MAX_LAPSED)
            for left in job.fell_back:
                if left.next_model == left.model:
                    continue  # it goes on, in less memory
                gave_up = left.code == "never_begun"
                assert gave_up == (counts[job.id, left.model] == MAX_LAPSED)

    def models_take_over_in_their_order_and_once(self, page: list[Job]) -> None:
        for job in page:
            turns = [*(left.model for left in job.fell_back), job.request.model]
            assert turns == sorted(turns, key=MODELS.index)
            steps = [(left.model, left.profile) for left in job.fell_back]
            assert len(set(steps)) == len(steps)
            assert not {other.request.model for other in job.fallbacks} & set(turns)
            was_before = self.gave_up.get(job.id, ())
            assert job.fell_back[: len(was_before)] == was_before
            self.gave_up[job.id] = job.fell_back

    def teardown(self) -> None:
        self.folder.cleanup()


class Unlucky(Machine):
    """Starts fall through five times in a row, which the rules above seldom come to."""

    @rule(target=Machine.claims)
    def claims_that_no_worker_saw(self) -> Claim | None:
        """Their answers were lost; the last of them is seen after all, late."""
        claimed = None
        for _ in range(MAX_LAPSED):
            claimed = make.claim(self.db, self.clock(), MODELS) or claimed
            self.clock.advance(31)
            self.rescuer.tick(self.clock())
        return claimed


def run_machine(
    db: Database,
    runs: int,
    phases: Iterable[Phase] = tuple(Phase),
    machine: type[Machine] = Machine,
) -> None:
    Machine.db = db
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=runs,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
            print_blob=False,
            phases=phases,
        ),
    )


@pytest.mark.timeout(1800)  # thousands of commits, however slow the disk is just now
def test_no_interleaving_breaks_the_promises(db: Database) -> None:
    runs = rounds(short=200, long=1000) if db.local else rounds(short=60, long=200)

    run_machine(db, runs, machine=Unlucky)

    tell("random interleavings", runs=runs, steps=40)


@pytest.mark.timeout(1200)  # hypothesis makes the interleaving that it found smaller
def test_without_the_fence_an_interleaving_breaks_them(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or else the test above would prove nothing."""
    guarded = moves._update

    def unguarded(tx: Transaction, job: Job, *args: Any, **values: Any) -> Job:
        now = jobs.get(tx, job.id)
        assert now is not None
        return guarded(tx, job.model_copy(update={"fence": now.fence}), *args, **values)

    def trusting(tx: Transaction, credentials: report.Credentials, fence: int) -> Job:
        job = jobs.get(tx, credentials.job_id)
        if job is None or job.state is not JobState.RUNNING:
            raise Lost
        return job

    monkeypatch.setattr(moves, "_update", unguarded)
    monkeypatch.setattr(report, "_running", trusting)
    db = Database(sqlite_url, lambda topics: None)
    try:
        with pytest.raises((AssertionError, RequestRefused, sa.exc.IntegrityError)):
            run_machine(db, 200, phases=[Phase.generate])  # the smallest one is not asked for
    finally:
        db.close()
