"""Accept jobs: the rows, and what their Idempotency-Keys made, in one transaction."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from service.domain.errors import (
    BudgetExceeded,
    FieldError,
    QueueFull,
    RequestRefused,
    ServiceError,
)
from service.domain.ids import KeyId
from service.domain.job import Job
from service.domain.limits import Limits
from service.domain.price import microusd, month_of
from service.domain.submission import Idempotency, Submission, new_job
from service.lifecycle.find import hold
from service.store import idempotency, jobs, keys
from service.store.idempotency import IdempotencyRecord, Name
from service.store.transaction import Transaction

DiskSpace = Callable[[], None]


def no_check() -> None:
    """There is always room."""


@dataclass(frozen=True)
class Accepted:
    """The job, and whether an earlier request with the same Idempotency-Key made it."""

    job: Job
    replayed: bool = False


Answer: TypeAlias = Accepted | ServiceError


def submit(
    tx: Transaction,
    submission: Submission,
    limits: Limits,
    now: datetime,
    room: DiskSpace = no_check,
) -> Accepted:
    """Insert a queued job, or answer the one that the same Idempotency-Key made before.

    Raises RequestRefused when that key came with another request, QueueFull over a cap,
    BudgetExceeded where this job may pass its key's budget, NotFound when the job to retry is gone,
    and what `room` raises when there is no room for another clip.
    """
    (answer,) = submit_all(tx, [submission], limits, now, room)
    if isinstance(answer, ServiceError):
        raise answer
    return answer


def find_earlier(
    tx: Transaction, key_id: KeyId, named: Idempotency, now: datetime
) -> Accepted | None:
    """What this Idempotency-Key made. Raises RequestRefused when that was another request."""
    name = Name(key_id, named.name)
    earlier = idempotency.find(tx, [name], now=now).get(name)
    return None if earlier is None else _replay(earlier, named)


def submit_all(
    tx: Transaction,
    submissions: Sequence[Submission],
    limits: Limits,
    now: datetime,
    room: DiskSpace = no_check,
) -> list[Answer]:
    """`submit` for each of them, by a few statements for all; an error is answered in its place."""
    answers: dict[int, Answer] = {}
    waiting = list(enumerate(submissions))
    while waiting:
        # Of those with one name the next looks for what the one before it made.
        turn, waiting = _until_a_name_comes_again(waiting)
        answers |= _submit_different(tx, turn, limits, now, room)
    return [answers[index] for index in range(len(submissions))]


Numbered: TypeAlias = list[tuple[int, Submission]]


def _until_a_name_comes_again(waiting: Numbered) -> tuple[Numbered, Numbered]:
    """In two, and nobody overtaken: the last place is for whoever came first."""
    seen: set[Name | None] = set()
    for at, (_, asked) in enumerate(waiting):
        name = _name(asked)
        if name is not None and name in seen:
            return waiting[:at], waiting[at:]
        seen.add(name)
    return waiting, []


def _submit_different(
    tx: Transaction, turn: Numbered, limits: Limits, now: datetime, room: DiskSpace
) -> dict[int, Answer]:
    """Submissions of which no two have the same name."""
    answers: dict[int, Answer] = {}
    earlier = _earlier(tx, [asked for _, asked in turn], now)
    new: dict[int, Submission] = {}
    for index, asked in turn:
        answer = _judge(tx, asked, earlier.get(_name(asked)), room)
        if answer is None:
            new[index] = asked
        else:
            answers[index] = answer
    placed = _take_places(tx, new, limits, now)
    made = {index: new_job(asked, now) for index, asked in new.items() if index in placed}
    answers |= {index: Accepted(job) for index, job in made.items()}
    refused = {index: asked for index, asked in new.items() if index not in placed}
    if refused:
        answers |= _refuse(tx, refused, limits, now)
    if made:
        pairs = [(job, new[index]) for index, job in made.items()]
        _insert(tx, pairs, now, limits.keep_idempotency)
    return answers


def _name(asked: Submission) -> Name | None:
    named = asked.idempotency
    return None if named is None else Name(asked.key_id, named.name)


def _earlier(
    tx: Transaction, submissions: Iterable[Submission], now: datetime
) -> Mapping[Name | None, IdempotencyRecord]:
    names = [name for asked in submissions if (name := _name(asked)) is not None]
    found: dict[Name | None, IdempotencyRecord] = {}
    if names:
        found.update(idempotency.find(tx, names, now=now).items())
    return found


def _judge(
    tx: Transaction, asked: Submission, earlier: IdempotencyRecord | None, room: DiskSpace
) -> Answer | None:
    """The answer to one that makes no job; None for one that does if it gets a place."""
    try:
        if earlier is not None:
            assert asked.idempotency is not None
            return _replay(earlier, asked.idempotency)
        room()
        if asked.retry_of is not None:
            hold(tx, asked.retry_of, asked.key_id)  # it may have been deleted meanwhile
    except ServiceError as error:
        return error
    return None


def _take_places(
    tx: Transaction, new: dict[int, Submission], limits: Limits, now: datetime
) -> set[int]:
    """Which of them get a place in their key's queue, and within its budget: of each key all,
    where there is room for all; otherwise one after another."""
    by_key: dict[KeyId, list[int]] = defaultdict(list)
    for index, asked in new.items():
        by_key[asked.key_id].append(index)

    def take(key_id: KeyId, *indexes: int) -> bool:
        return keys.take_places(
            tx,
            key_id,
            jobs=len(indexes),
            limit=limits.max_queued_per_key,
            estimate=sum(microusd(new[index].estimated_usd) for index in indexes),
            month=month_of(now),
        )

    placed: set[int] = set()
    for key_id, indexes in by_key.items():
        if take(key_id, *indexes):
            placed.update(indexes)
        elif len(indexes) > 1:
            placed.update(index for index in indexes if take(key_id, index))
    return placed


def _refuse(
    tx: Transaction, refused: dict[int, Submission], limits: Limits, now: datetime
) -> dict[int, Answer]:
    """Answers to those that got no place. Another process may have accepted the same name just
    before, in the last place there was: that is answered."""
    earlier = _earlier(tx, refused.values(), now)
    return {
        index: _judge(tx, asked, earlier.get(_name(asked)), no_check)
        or _no_place(tx, asked, limits, now)
        for index, asked in refused.items()
    }


def _no_place(tx: Transaction, asked: Submission, limits: Limits, now: datetime) -> ServiceError:
    """Why there was no place, as things stand a moment later."""
    balance = keys.balance(tx, asked.key_id, month_of(now))
    if balance.allows(microusd(asked.estimated_usd)):
        return QueueFull(
            f"{limits.max_queued_per_key} of your jobs are already waiting; "
            "submit more once some have started"
        )
    assert balance.budget is not None, "without a budget nothing is too much"
    return BudgetExceeded(
        budget=balance.budget / 1e6,
        spent=balance.spent / 1e6,
        reserved=balance.reserved / 1e6,
        estimated=asked.estimated_usd,
    )


def _insert(
    tx: Transaction, made: Sequence[tuple[Job, Submission]], now: datetime, keep: timedelta
) -> None:
    jobs.insert(tx, [job for job, _ in made])
    for key_id in {job.key_id for job, _ in made if job.webhook_url is not None}:
        keys.signing_secrets(tx, key_id)  # made now, so that its owner can ask for it
    named = [(job, asked.idempotency) for job, asked in made if asked.idempotency is not None]
    if named:
        idempotency.remember(tx, named, now=now, expires_at=now + keep)


def _replay(earlier: IdempotencyRecord, named: Idempotency) -> Accepted:
    if earlier.fingerprint != named.fingerprint:
        detail = "this Idempotency-Key was already used with another request; "
        detail += "use a new one for every new video"
        raise RequestRefused(
            [FieldError("", detail, "idempotency_key_reused")], code="idempotency_key_reused"
        )
    return Accepted(earlier.accepted, replayed=True)
