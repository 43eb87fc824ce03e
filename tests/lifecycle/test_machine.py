"""The life of a job under random interleavings, with workers that never forget."""

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings
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
from service.domain.errors import Lost
from service.domain.job import MOVES, Job, JobFilter, JobState, KeyId
from service.domain.limits import Limits
from service.lifecycle import dispatch, report
from service.lifecycle.cancel import cancel
from service.lifecycle.rescue import Rescuer
from service.lifecycle.submit import submit
from service.store import jobs, keys
from service.store.database import Database
from tests import make

pytestmark = pytest.mark.slow


class Machine(RuleBasedStateMachine):
    """Workers hold what they were told at claim and begin, and go on reporting it for ever."""

    claims = Bundle("claims")
    begun = Bundle("begun")
    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        path = Path(self.folder.name) / "m.db"
        path.write_bytes(self.template.read_bytes())
        self.db = Database(f"sqlite:///{path}", lambda topics: None)
        self.clock = make.FakeClock()
        self.rescuer = Rescuer(self.db, Files(Path(self.folder.name) / "a"), make.TERMS)
        self.seen: dict[str, JobState] = {}
        self.calls = 0

    @initialize()
    def first_key(self) -> None:
        self.key_id: KeyId = make.key(self.db)[0]

    @rule(priority=st.sampled_from(["low", "normal", "high"]))
    def submit(self, priority: str) -> None:
        asked = make.submission(self.key_id, priority=priority)
        make.do(self.db, lambda tx: submit(tx, asked, Limits(), self.clock()))

    @rule(target=claims)
    def claim(self) -> dispatch.Claim | None:
        claimed: dispatch.Claim | None = make.claim(self.db, self.clock())
        return claimed

    @rule(target=begun, claimed=claims)
    def begin(self, claimed: dispatch.Claim | None) -> tuple[dispatch.Claim, Job] | None:
        if claimed is None:
            return None
        self.calls += 1
        try:
            return claimed, make.begin(self.db, claimed, self.clock(), call_id=f"c{self.calls}")
        except Lost:
            return None

    @rule(held=begun, fraction=st.floats(0, 1))
    def progress(self, held: tuple[dispatch.Claim, Job] | None, fraction: float) -> None:
        if held is None:
            return
        told = Progress(stage="generate", fraction=fraction)
        self.report(
            held,
            lambda tx: report.progress(
                tx,
                make.credentials(held[0]),
                fence=held[1].fence,
                told=told,
                lease=make.LEASE,
                now=self.clock(),
            ),
        )

    @rule(held=begun)
    def finish(self, held: tuple[dispatch.Claim, Job] | None) -> None:
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

    @rule(held=begun, kind=st.sampled_from(["user", "transient", "oom", "internal", "canceled"]))
    def fail(self, held: tuple[dispatch.Claim, Job] | None, kind: str) -> None:
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
                now=self.clock(),
            ),
        )

    @rule(held=begun)
    def release(self, held: tuple[dispatch.Claim, Job] | None) -> None:
        if held is None:
            return
        self.report(
            held,
            lambda tx: report.release(
                tx, make.credentials(held[0]), fence=held[1].fence, now=self.clock()
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

    @rule(number=st.integers(0, 5))
    def cancel(self, number: int) -> None:
        page = self.db.read(lambda tx: jobs.page(tx, self.key_id, size=100, wanted=JobFilter()))
        if page:
            job = page[number % len(page)]
            make.do(self.db, lambda tx: cancel(tx, job.id, self.key_id, self.clock()))

    @rule(seconds=st.sampled_from([1, 10, 31, 61, -20]))
    def time_passes(self, seconds: int) -> None:
        self.clock.advance(seconds)
        self.rescuer.tick(self.clock())

    @invariant()
    def every_move_was_legal_and_final_is_final(self) -> None:
        if not hasattr(self, "key_id"):
            return
        page = self.db.read(lambda tx: jobs.page(tx, self.key_id, size=100, wanted=JobFilter()))
        for job in page:
            before = self.seen.get(job.id, JobState.QUEUED)
            # Between two looks a job may have made several moves, but none out of a final state.
            assert not before.final or before is job.state
            assert before is job.state or MOVES[before]
            assert job.attempt <= job.max_attempts
            assert (job.lease_until is not None) == (job.state in ("starting", "running"))
            self.seen[job.id] = job.state
        assert set(self.seen) == {job.id for job in page}

    @invariant()
    def the_queue_is_counted_right(self) -> None:
        if not hasattr(self, "key_id"):
            return
        page = self.db.read(lambda tx: jobs.page(tx, self.key_id, size=100, wanted=JobFilter()))
        states = Counter(job.state for job in page)
        assert self.db.read(keys.count_queued) == states[JobState.QUEUED]

    def teardown(self) -> None:
        self.db.close()
        self.folder.cleanup()


def test_no_interleaving_breaks_the_promises(migrated: Path) -> None:
    Machine.template = migrated

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
        ),
    )
