"""Bulk actions: one act on all jobs that a filter selects."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal, NewType

from service.domain import ids
from service.domain.ids import JobId, KeyId, parse
from service.domain.job import FINAL, JobState

BulkId = NewType("BulkId", str)
BulkAct = Literal["cancel", "retry", "delete"]

_OPEN = frozenset(JobState) - FINAL
# The states in which a job can be acted on.
STATES_OF: dict[BulkAct, frozenset[JobState]] = {"cancel": _OPEN, "retry": FINAL, "delete": FINAL}
MAX_JOBS = 100_000


def new_bulk_id() -> BulkId:
    return BulkId(ids.new("blk"))


def bulk_id_of(text: str) -> BulkId:
    """Parse the id of a bulk action. Raises NotFound for a malformed one."""
    return BulkId(parse("blk", "bulk action", text))


class BulkState(StrEnum):
    RUNNING = "running"
    STOPPED = "stopped"
    DONE = "done"


@dataclass(frozen=True)
class Survey:
    """The jobs that a bulk action would act on: their number, and the sum of their estimates."""

    jobs: int
    estimated_usd: float


@dataclass(frozen=True)
class BulkAction:
    """A bulk action. `query` is the URL's query of the list that it acts on."""

    id: BulkId
    key_id: KeyId
    act: BulkAct
    query: str
    total: int
    state: BulkState
    created_at: datetime
    ended_at: datetime | None = None


@dataclass(frozen=True)
class BulkItem:
    """A job of a bulk action, and what was done to it; `is_changed` is None before its turn."""

    job_id: JobId
    is_changed: bool | None = None
    outcome: str | None = None
