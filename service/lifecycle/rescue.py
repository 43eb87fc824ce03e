"""What time alone brings about: silent workers, passed deadlines, wishes that were not heard."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from service.domain.attempt import Failure, FailureKind
from service.domain.errors import Busy, Unavailable
from service.domain.ids import KeyId
from service.domain.job import Job, JobState
from service.domain.ports import ArtifactStore
from service.domain.retry import MAX_WAIT
from service.domain.terms import Terms
from service.lifecycle.calls.calls import Calls
from service.lifecycle.find import move_each_unlocked, move_if_unchanged
from service.lifecycle.report import succeed
from service.lifecycle.settle import lapse, pass_over, settle
from service.lifecycle.verify import finished_outcome
from service.log import Log
from service.store import jobs, moves
from service.store.database import Database
from service.store.transaction import Transaction

log = Log(__name__)

# How long a running worker may ignore a wish to cancel before the job is taken from it: longer
# than one denoising step of the largest model.
CANCEL_GRACE = timedelta(seconds=60)


Work = Callable[[Transaction], Job | None]
Due = Callable[[Transaction], list[Job]]
Move = Callable[[Job], Work]


@dataclass(frozen=True)
class Rescuer:
    """The ticks that need no caller. Each job is moved in a transaction of its own."""

    db: Database
    artifacts: ArtifactStore
    terms: Terms
    max_lease: timedelta = timedelta(seconds=30)
    calls: Calls | None = None  # where workers are called, they can be asked

    def tick(self, now: datetime) -> int:
        """Do all that is due; answers how many jobs were moved."""
        busy: set[KeyId] = set()
        if self.calls is not None:
            self._ask_calls(self.calls, now, busy)
        rules: list[tuple[Due, Move]] = [
            (
                lambda tx: jobs.lapsed(tx, now, 2 * self.max_lease),
                lambda job: self._lapsed(job, now),
            ),
            (lambda tx: jobs.put_off(tx, now + MAX_WAIT), lambda job: _let_run(job, now)),
            (lambda tx: jobs.overdue(tx, now), lambda job: self._fail(job, _timeout(job), now)),
            (
                lambda tx: jobs.unheard(tx, now - CANCEL_GRACE),
                lambda job: self._fail(job, _LOST, now),
            ),
            (lambda tx: jobs.never_started(tx, now), lambda job: self._not_started(job, now)),
        ]
        return sum(
            moved
            for due, move in rules
            for moved in move_each_unlocked(self.db.read(due), busy, partial(self._try, move, now))
        )

    def _ask_calls(self, calls: Calls, now: datetime, busy: set[KeyId]) -> None:
        """Whoever is silent is asked first. One that cannot be asked is not called lost, nor is one
        of a key that is busy."""
        silent = self.db.read(lambda tx: jobs.lapsed(tx, now, 2 * self.max_lease))
        for _ in move_each_unlocked(silent, busy, partial(_ask, calls, now)):
            pass

    def _try(self, move: Move, now: datetime, job: Job) -> bool:
        """One job that cannot be moved holds up no other."""
        try:
            moved = self._move(job, move(job))
            if moved and self.calls is not None and job.state is JobState.RUNNING:
                self.calls.stop(job, now)  # it may be alive, and deaf
            return moved
        except Unavailable:
            raise  # its key is busy; or no other can be moved either, nor a worker be heard
        except Exception as fault:  # noqa: BLE001
            log.error("job could not be moved by time", fault, job=job.id)
            return False

    def _move(self, job: Job, work: Work) -> bool:
        moved = move_if_unchanged(self.db, job, lambda tx, _: work(tx))
        if moved is not None:
            log.warning(
                "job moved by time",
                job=job.id,
                attempt=job.attempt,
                was=job.state,
                state=moved.state,
            )
        return moved is not None

    def _lapsed(self, job: Job, now: datetime) -> Work:
        """Adopt what the silent worker finished; only else is the job generated again."""
        if job.state is JobState.STARTING:
            return lambda tx: lapse(tx, job, self.terms, now)
        try:
            outcome = finished_outcome(self.artifacts, job, job.artifact_prefix)
        except Unavailable as error:
            # Whether there is a clip is not known: neither lost nor adopted before it is.
            log.warning("what a lost worker left cannot be read", job=job.id, error=error)
            return lambda _: None
        if outcome is None:
            return self._fail(job, _LOST, now)
        return lambda tx: succeed(tx, job, outcome, terms=self.terms, now=now)

    def _not_started(self, job: Job, now: datetime) -> Work:
        return lambda tx: pass_over(tx, job, self.terms, now)

    def _fail(self, job: Job, failure: Failure, now: datetime) -> Work:
        return lambda tx: settle(tx, job, failure, self.terms, now)


def _ask(calls: Calls, now: datetime, job: Job) -> None:
    try:
        calls.look(job, now)
        return
    except Busy:
        raise
    except Unavailable as error:
        log.warning("call cannot be asked", job=job.id, error=error)
    except Exception as fault:  # noqa: BLE001 - one job holds up no other
        log.error("call could not be judged", fault, job=job.id)
    calls.put_off(job, now)


_LOST = Failure(
    kind=FailureKind.LOST, code="worker_lost", message="the worker fell silent and was given up"
)


def _timeout(job: Job) -> Failure:
    return Failure(
        kind=FailureKind.TIMEOUT,
        code="timeout",
        message=f"the attempt ran longer than {job.timeout_seconds} s",
    )


def _let_run(job: Job, now: datetime) -> Work:
    return lambda tx: moves.let_run(tx, job, now=now)
