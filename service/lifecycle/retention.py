"""Deletes expired artifacts and rows: bytes first, so that a crash in between leaks nothing."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from service.domain import ids
from service.domain.attempt import (
    SEGMENTS,
    ArtifactStore,
    artifact_prefix,
    attempt_folder,
    job_folder,
)
from service.domain.job import Job, JobState
from service.domain.likeness import AVATAR_PREFIX, VOICE_PREFIX, ClonedVoice, SavedAvatar
from service.domain.retention import Purge, RetentionPolicy, next_purge_at, purge_of
from service.failpoint import failpoint
from service.lifecycle.inputs import delete_inputs
from service.store import deliveries, events, idempotency, jobs, likenesses
from service.store.database import Database
from service.store.transaction import Transaction

log = logging.getLogger(__name__)

_BATCH = 500  # rows or jobs at a time: a purge must not block the writer
_STRAYS_EVERY = timedelta(hours=1)
FindExisting = Callable[[Transaction, list[str]], set[str]]


@dataclass
class Retention:
    """The tick that purges. Each step is idempotent, since a crash may repeat it."""

    db: Database
    artifacts: ArtifactStore
    policy: RetentionPolicy
    _strays_at: datetime | None = field(default=None, init=False)

    def tick(self, now: datetime) -> int:
        """Purge all that is due; return how many jobs were purged."""
        due = self.db.read(lambda tx: jobs.to_purge(tx, now, size=_BATCH))
        num_purged = sum(self._try(job, now) for job in due)
        self._delete_rows(now)
        if self._strays_at is None or now >= self._strays_at:
            self._strays_at = now + _STRAYS_EVERY
            self._collect_strays(now - self.policy.jobs)
        return num_purged

    def _try(self, job: Job, now: datetime) -> bool:
        """Purge one job; its error does not stop the others."""
        try:
            self._purge(job, now)
        except Exception as fault:
            log.error("job could not be purged", exc_info=fault, extra={"job": job.id})
            return False
        return True

    def _purge(self, job: Job, now: datetime) -> None:
        due = purge_of(job, self.policy, now)
        if due is Purge.LEFTOVERS:
            self._delete_leftovers(job)
        else:
            self.artifacts.delete(job_folder(job.id))
        # Inputs serve retries: of a job without a video for an hour (SETTLE), of a success for as
        # long as its video is kept.
        delete_inputs_too = due is not Purge.LEFTOVERS or job.state is not JobState.SUCCEEDED
        if delete_inputs_too:
            delete_inputs(self.artifacts, job.id)
        failpoint("purge.bytes_gone")
        if due is Purge.ROW:
            self.db.write(lambda tx: jobs.delete(tx, job)).result()
        else:
            at = next_purge_at(job, due, self.policy)
            change = partial(jobs.schedule_purge, job=job, at=at, inputs_deleted=delete_inputs_too)
            self.db.write(change).result()
        log.info("job purged", extra={"job": job.id, "what": due})

    def _delete_leftovers(self, job: Job) -> None:
        """Delete artifacts of attempts other than the successful one, and its segments."""
        # Taken from the key: a worker that could not begin has a folder of its own.
        winner = None if job.result is None else attempt_folder(job.result.video.key)
        for fence in self.artifacts.children(job_folder(job.id)):
            prefix = artifact_prefix(job.id, fence)
            self.artifacts.delete(prefix if fence != winner else f"{prefix}/{SEGMENTS}")

    def _collect_strays(self, before: datetime) -> None:
        """Delete bytes without a row: of a worker that wrote after its job was deleted, of an API
        process that died before it inserted the job or the avatar, or of a clone that was deleted
        while its sample was made.

        Only those older than any job, since this database may be new, or restored.
        """
        for folder in ("jobs", "inputs"):
            self._collect_below(folder, "job", jobs.existing_ids, before)
        find_avatars = partial(likenesses.existing_ids, kind=SavedAvatar)
        self._collect_below("avatars", AVATAR_PREFIX, find_avatars, before)
        find_voices = partial(likenesses.existing_ids, kind=ClonedVoice)
        self._collect_below("voices", VOICE_PREFIX, find_voices, before)

    def _collect_below(
        self, folder: str, prefix: str, find_existing: FindExisting, before: datetime
    ) -> None:
        children = self.artifacts.children(folder)
        names = [name for name in children if _is_older(name, prefix, before)]
        for start in range(0, len(names), _BATCH):
            batch = names[start : start + _BATCH]
            existing = self.db.read(lambda tx, ids=batch: find_existing(tx, ids))  # type: ignore[misc]
            for name in batch:
                if name not in existing:
                    self.artifacts.delete(f"{folder}/{name}")
                    log.info("stray bytes deleted", extra={"folder": folder, "of": name})

    def _delete_rows(self, now: datetime) -> None:
        """Read first, so that the writer runs only when there are rows to delete."""
        if self.db.read(lambda tx: idempotency.has_expired(tx, now)):
            self._delete_batches(lambda tx: idempotency.delete_expired(tx, now, size=_BATCH))
        before = now - self.policy.deliveries
        if self.db.read(lambda tx: deliveries.has_old(tx, before)):
            self._delete_batches(lambda tx: deliveries.delete_old(tx, before, size=_BATCH))
        if self.db.read(lambda tx: events.has_old(tx, before)):
            self._delete_batches(lambda tx: events.delete_old(tx, before, size=_BATCH))

    def _delete_batches(self, delete: Callable[[Transaction], int]) -> None:
        while self.db.write(delete).result() == _BATCH:
            pass


def _is_older(name: str, prefix: str, moment: datetime) -> bool:
    """Tell whether `name` is an id with this prefix created before `moment`."""
    return ids.is_id(prefix, name) and ids.made_at(name) < moment
