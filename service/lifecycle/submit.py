"""Accept jobs: insert their rows and idempotency records in one transaction."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from service.domain.errors import (
    QueueFull,
    ServiceError,
)
from service.domain.ids import KeyId
from service.domain.job import Idempotency, Job, Scope, Submission, new_job
from service.domain.limits import Limits
from service.domain.price import microusd, month_of
from service.lifecycle.jobs import find_for_update
from service.store import audit, idempotency, jobs, keys
from service.store.audit import AuditEntry
from service.store.idempotency import IdempotencyRecord, Name
from service.store.transaction import Transaction

CheckStorage = Callable[[], None]


def unlimited_storage() -> None:
    """Accept: storage is not limited."""


@dataclass(frozen=True)
class Accepted:
    """The job; `is_replay` if an earlier request with its Idempotency-Key created it."""

    job: Job
    is_replay: bool = False


Answer: TypeAlias = Accepted | ServiceError


def find_earlier(
    tx: Transaction, key_id: KeyId, idempotency_key: Idempotency, now: datetime
) -> Accepted | None:
    """Return the job that this Idempotency-Key created. Raises RequestRefused if it differs."""
    name = Name(key_id, idempotency_key.name)
    earlier = idempotency.find(tx, [name], now=now).get(name)
    return None if earlier is None else _replay(earlier, idempotency_key)


def submit_all(
    tx: Transaction,
    submissions: Sequence[Submission],
    limits: Limits,
    now: datetime,
    check_storage: CheckStorage = unlimited_storage,
) -> list[Answer]:
    """Insert queued jobs, or return those that their Idempotency-Keys created before, by a few
    statements for all. An error is returned in the place of its submission: RequestRefused if the
    key came with another request, QueueFull over the queue limit, BudgetExceeded if the job may
    exceed its key's budget, NotFound if the job to retry was deleted, and those of
    `check_storage`."""
    answers: dict[int, Answer] = {}
    waiting = list(enumerate(submissions))
    while waiting:
        # The second of two with one name must find the record of the first.
        batch, waiting = _split_at_repeated_name(waiting)
        answers |= _submit_distinct(tx, batch, limits, now, check_storage)
    return [answers[index] for index in range(len(submissions))]


Numbered: TypeAlias = list[tuple[int, Submission]]


def _split_at_repeated_name(waiting: Numbered) -> tuple[Numbered, Numbered]:
    """Split before the first repeated name, in order: the last place goes to the first to come."""
    names: set[Name | None] = set()
    for at, (_, submission) in enumerate(waiting):
        name = _name(submission)
        if name is not None and name in names:
            return waiting[:at], waiting[at:]
        names.add(name)
    return waiting, []


def _submit_distinct(
    tx: Transaction, batch: Numbered, limits: Limits, now: datetime, check_storage: CheckStorage
) -> dict[int, Answer]:
    """Submit those of a batch, no two of which have the same name."""
    answers: dict[int, Answer] = {}
    earlier = _earlier(tx, [submission for _, submission in batch], now)
    new: dict[int, Submission] = {}
    for index, submission in batch:
        answer = _answer_without_job(tx, submission, earlier.get(_name(submission)), check_storage)
        if answer is None:
            new[index] = submission
        else:
            answers[index] = answer
    placed_indexes = _reserve_places(tx, new, limits, now)
    new_jobs = {index: new_job(new[index], now) for index in new if index in placed_indexes}
    answers |= {index: Accepted(job) for index, job in new_jobs.items()}
    refusals = {index: new[index] for index in new if index not in placed_indexes}
    if refusals:
        answers |= _refuse(tx, refusals, limits, now)
    if new_jobs:
        pairs = [(job, new[index]) for index, job in new_jobs.items()]
        _insert(tx, pairs, now, limits.keep_idempotency)
    return answers


def _name(submission: Submission) -> Name | None:
    key = submission.idempotency
    return None if key is None else Name(submission.key_id, key.name)


def _earlier(
    tx: Transaction, submissions: Iterable[Submission], now: datetime
) -> Mapping[Name | None, IdempotencyRecord]:
    names = [name for each in submissions if (name := _name(each)) is not None]
    records: dict[Name | None, IdempotencyRecord] = {}
    if names:
        records.update(idempotency.find(tx, names, now=now).items())
    return records


def _answer_without_job(
    tx: Transaction,
    submission: Submission,
    earlier: IdempotencyRecord | None,
    check_storage: CheckStorage,
) -> Answer | None:
    """Return the replay or error that answers a submission; None if it is to become a job."""
    try:
        if earlier is not None:
            assert submission.idempotency is not None
            return _replay(earlier, submission.idempotency)
        check_storage()
        if submission.retry_of is not None:
            # It may have been deleted meanwhile.
            find_for_update(tx, submission.retry_of, Scope(submission.key_id))
    except ServiceError as error:
        return error
    return None


def _reserve_places(
    tx: Transaction, new: dict[int, Submission], limits: Limits, now: datetime
) -> set[int]:
    """Reserve places in the keys' queues and budgets; return the indexes of those that got one. Per
    key all at once if there is room for all, otherwise one after another."""
    by_key: dict[KeyId, list[int]] = defaultdict(list)
    for index, submission in new.items():
        by_key[submission.key_id].append(index)

    def reserve(key_id: KeyId, *indexes: int) -> bool:
        return keys.reserve_places(
            tx,
            key_id,
            jobs=len(indexes),
            limit=limits.max_queued_per_key,
            estimate=sum(microusd(new[index].estimated_usd) for index in indexes),
            month=month_of(now),
        )

    indexes_placed: set[int] = set()
    for key_id, indexes in by_key.items():
        if reserve(key_id, *indexes):
            indexes_placed.update(indexes)
        elif len(indexes) > 1:
            indexes_placed.update(index for index in indexes if reserve(key_id, index))
    return indexes_placed


def _refuse(
    tx: Transaction, refusals: dict[int, Submission], limits: Limits, now: datetime
) -> dict[int, Answer]:
    """Answer those that got no place. Another process may have accepted the same name just before,
    in the last place: then its job is the answer."""
    earlier = _earlier(tx, refusals.values(), now)
    return {
        index: _answer_without_job(tx, each, earlier.get(_name(each)), unlimited_storage)
        or _no_place(tx, each, limits, now)
        for index, each in refusals.items()
    }


def _no_place(
    tx: Transaction, submission: Submission, limits: Limits, now: datetime
) -> ServiceError:
    """Return the error of a submission without a place: over the queue limit or the budget."""
    balance = keys.balance(tx, submission.key_id, month_of(now))
    if balance.allows(microusd(submission.estimated_usd)):
        return QueueFull(
            f"{limits.max_queued_per_key} of your jobs are already waiting; "
            "submit more once some have started"
        )
    return balance.exceeded(submission.estimated_usd)


def _insert(
    tx: Transaction, pairs: Sequence[tuple[Job, Submission]], now: datetime, keep: timedelta
) -> None:
    jobs.insert(tx, [job for job, _ in pairs])
    for key_id in {job.key_id for job, _ in pairs if job.webhook_url is not None}:
        keys.signing_secrets(tx, key_id)  # created now, so that its owner can read it
    records = [(job, each.idempotency) for job, each in pairs if each.idempotency is not None]
    if records:
        idempotency.insert(tx, records, now=now, expires_at=now + keep)
    for job, each in pairs:
        if each.actor is not None:
            audit.insert(tx, _entry(job, each.actor, now))


def _entry(job: Job, actor: KeyId, now: datetime) -> AuditEntry:
    if job.retry_of is None:
        return AuditEntry(now, actor, "job.submit", job.id)
    return AuditEntry(now, actor, "job.retry", job.id, detail=f"of {job.retry_of}")


def _replay(earlier: IdempotencyRecord, idempotency_key: Idempotency) -> Accepted:
    idempotency_key.check(earlier.fingerprint)
    return Accepted(earlier.job, is_replay=True)
