"""A cancel ends the job and what works on it, for whoever may see the job and nobody else."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest

from service.domain.errors import NotFound
from service.domain.ids import KeyId
from service.domain.job import Job, JobState, Scope
from service.domain.limits import Limits
from service.lifecycle.jobs import cancel
from service.store.database import Database
from tests import make
from tests.make import submit


@dataclass
class Workers:
    """Remembers whose attempts it was told to stop."""

    stopped: list[str] = field(default_factory=list)

    def stop(self, job: Job, now: datetime) -> None:
        self.stopped.append(job.id)


def accepted(db: Database, key_id: KeyId) -> Job:
    asked = make.submission(key_id)
    job: Job = make.do(db, lambda tx: submit(tx, asked, Limits(), make.START)).job
    return job


def test_a_job_that_runs_has_its_attempt_stopped(db: Database, key_id: KeyId) -> None:
    job, workers = accepted(db, key_id), Workers()
    make.begin(db, make.claim(db, make.START), make.START)

    after = cancel(db, workers, job.id, Scope(key_id), make.START)  # type: ignore[arg-type]

    assert after.state is JobState.RUNNING
    assert after.cancel_requested_at == make.START
    assert workers.stopped == [job.id]


def test_a_job_that_waits_ends_at_once_and_nothing_is_stopped(db: Database, key_id: KeyId) -> None:
    job, workers = accepted(db, key_id), Workers()

    after = cancel(db, workers, job.id, Scope(key_id), make.START)  # type: ignore[arg-type]

    assert (after.state, workers.stopped) == (JobState.CANCELED, [])


@pytest.mark.parametrize("scope", ["all", "another"])
def test_a_job_of_another_key_is_there_only_for_the_scope_of_all(
    db: Database, key_id: KeyId, scope: str
) -> None:
    job, workers = accepted(db, key_id), Workers()
    other: Any = Scope(None if scope == "all" else make.key(db)[0])

    if scope == "all":
        assert cancel(db, workers, job.id, other, make.START).state is JobState.CANCELED  # type: ignore[arg-type]
    else:
        with pytest.raises(NotFound):
            cancel(db, workers, job.id, other, make.START)  # type: ignore[arg-type]
