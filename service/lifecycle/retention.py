"""What is kept no longer: bytes first, rows after, so that a crash in between leaks nothing."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from service.domain import ids
from service.domain.artifact import SEGMENTS, artifact_prefix, attempt_folder, job_folder
from service.domain.job import Job, JobState
from service.domain.ports import ArtifactStore
from service.domain.retention import Purge, RetentionPolicy, next_purge_at, purge_of
from service.failpoint import failpoint
from service.lifecycle.inputs import discard
from service.log import Log
from service.store import deliveries, idempotency, jobs
from service.store.database import Database
from service.store.transaction import Transaction

log = Log(__name__)

_BATCH = 500  # of anything in one go: a purge must not hold up the writer
_STRAYS_EVERY = timedelta(hours=1)


@dataclass
class Retention:
    """The tick that throws away. Every act may be done twice: a crash repeats the last one."""

    db: Database
    artifacts: ArtifactStore
    keeping: RetentionPolicy
    _strays_at: datetime | None = field(default=None, init=False)

    def tick(self, now: datetime) -> int:
        """Do what is due; answers how many jobs were touched."""
        due = self.db.read(lambda tx: jobs.to_purge(tx, now, size=_BATCH))
        touched = sum(self._try(job, now) for job in due)
        self._forget_rows(now)
        if self._strays_at is None or now >= self._strays_at:
            self._strays_at = now + _STRAYS_EVERY
            self._collect_strays(now - self.keeping.jobs)
        return touched

    def _try(self, job: Job, now: datetime) -> bool:
        """One job whose bytes cannot be deleted holds up no other."""
        try:
            self._purge(job, now)
        except Exception as fault:  # noqa: BLE001
            log.error("job could not be purged", fault, job=job.id)
            return False
        return True

    def _purge(self, job: Job, now: datetime) -> None:
        due = purge_of(job, self.keeping, now)
        if due is Purge.LEFTOVERS:
            self._delete_leftovers(job)
        else:
            self.artifacts.delete(job_folder(job.id))
        # A job without a video may be retried for an hour (SETTLE), a success as long as its video
        # is kept.
        inputs_gone = due is not Purge.LEFTOVERS or job.state is not JobState.SUCCEEDED
        if inputs_gone:
            discard(self.artifacts, job.id)
        failpoint("purge.bytes_gone")
        if due is Purge.ROW:
            self.db.write(lambda tx: jobs.delete(tx, job)).result()
        else:
            at = next_purge_at(job, due, self.keeping)
            change = partial(jobs.purge_again, job=job, at=at, inputs_gone=inputs_gone)
            self.db.write(change).result()
        log.info("job purged", job=job.id, what=due)

    def _delete_leftovers(self, job: Job) -> None:
        """What attempts that did not win have left; only a success has a winner."""
        # Named by where the bytes lie: a worker that could not begin has a folder of its own.
        winner = None if job.result is None else attempt_folder(job.result.video.key)
        for fence in self.artifacts.children(job_folder(job.id)):
            prefix = artifact_prefix(job.id, fence)
            self.artifacts.delete(prefix if fence != winner else f"{prefix}/{SEGMENTS}")

    def _collect_strays(self, before: datetime) -> None:
        """Bytes of jobs that are no more, for a worker that was given up wrote after their
        deletion, or that never were, for the API died between keeping what came in and the job.

        Only of jobs so old that no database can still have them: this one may be new, or restored.
        """
        for folder in ("jobs", "inputs"):
            self._collect_below(folder, before)

    def _collect_below(self, folder: str, before: datetime) -> None:
        names = [name for name in self.artifacts.children(folder) if _made_before(name, before)]
        for start in range(0, len(names), _BATCH):
            some = names[start : start + _BATCH]
            known = self.db.read(lambda tx, some=some: jobs.known(tx, some))  # type: ignore[misc]
            for name in some:
                if name not in known:
                    self.artifacts.delete(f"{folder}/{name}")
                    log.info("stray bytes deleted", job=name)

    def _forget_rows(self, now: datetime) -> None:
        """The writer is bothered only when there is something to forget."""
        if self.db.read(lambda tx: idempotency.old(tx, now)):
            self._forget(lambda tx: idempotency.forget(tx, now, size=_BATCH))
        before = now - self.keeping.deliveries
        if self.db.read(lambda tx: deliveries.old(tx, before)):
            self._forget(lambda tx: deliveries.forget(tx, before, size=_BATCH))

    def _forget(self, some: Callable[[Transaction], int]) -> None:
        while self.db.write(some).result() == _BATCH:
            pass


def _made_before(name: str, moment: datetime) -> bool:
    """What is not named after a job is not ours to judge."""
    return ids.is_id("job", name) and ids.made_at(name) < moment
