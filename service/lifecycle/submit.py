"""Accept jobs: the rows, and what their Idempotency-Keys made, in one transaction."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from service.domain.errors import FieldError, QueueFull, RequestRefused, ServiceError
from service.domain.job import Job
from service.domain.limits import Limits
from service.domain.submission import Submission, new_job
from service.lifecycle.find import hold
from service.store import idempotency, jobs, keys
from service.store.database import Transaction
from service.store.idempotency import Name, Remembered

Room = Callable[[], None]


def no_check() -> None:
    """There is always room."""


@dataclass(frozen=True)
class Accepted:
    """The job, and whether an earlier request with the same Idempotency-Key made it."""

    job: Job
    replayed: bool = False


Answer: TypeAlias = Accepted | ServiceError


def submit(
    tx: Transaction, submission: Submission, limits: Limits, now: datetime, room: Room = no_check
) -> Accepted:
    """Insert a queued job, or answer the one that the same Idempotency-Key made before.

    Raises RequestRefused when that key came with another request, QueueFull over a cap, NotFound
    when the job to retry is gone, and what `room` raises when there is no room for another clip.
    """
    (answer,) = submit_all(tx, [submission], limits, now, room)
    if isinstance(answer, ServiceError):
        raise answer
    return answer


def submit_all(
    tx: Transaction,
    submissions: Sequence[Submission],
    limits: Limits,
    now: datetime,
    room: Room = no_check,
) -> list[Answer]:
    """`submit` for each of them, by a few statements for all; an error is answered in its place."""
    answers: dict[int, Answer] = {}
    waiting = list(enumerate(submissions))
    while waiting:
        # Of those with one name the next looks for what the one before it made.
        turn, waiting = _one_of_each_name(waiting)
        answers |= _submit_different(tx, turn, limits, now, room)
    return [answers[index] for index in range(len(submissions))]


Numbered: TypeAlias = list[tuple[int, Submission]]


def _one_of_each_name(waiting: Numbered) -> tuple[Numbered, Numbered]:
    seen: set[Name] = set()
    turn: Numbered = []
    rest: Numbered = []
    for index, asked in waiting:
        name = _name(asked)
        (rest if name in seen else turn).append((index, asked))
        if name is not None:
            seen.add(name)
    return turn, rest


def _submit_different(
    tx: Transaction, turn: Numbered, limits: Limits, now: datetime, room: Room
) -> dict[int, Answer]:
    """Submissions of which no two have the same name."""
    answers: dict[int, Answer] = {}
    names = [name for _, asked in turn if (name := _name(asked)) is not None]
    earlier = idempotency.find(tx, names, now=now) if names else {}
    new: dict[int, Submission] = {}
    for index, asked in turn:
        answer = _judge(tx, asked, earlier.get(name) if (name := _name(asked)) else None, room)
        if answer is None:
            new[index] = asked
        else:
            answers[index] = answer
    placed = _take_places(tx, new.values(), limits.max_queued_per_key)
    made = []
    for (index, asked), has_place in zip(new.items(), placed, strict=True):
        if has_place:
            job = new_job(asked, now)
            made.append((job, asked))
            answers[index] = Accepted(job)
        else:
            answers[index] = _queue_full(limits.max_queued_per_key)
    if made:
        _insert(tx, made, expires_at=now + limits.keep_idempotency)
    return answers


def _name(asked: Submission) -> Name | None:
    named = asked.idempotency
    return None if named is None else Name(asked.key_id, named.name)


def _judge(
    tx: Transaction, asked: Submission, earlier: Remembered | None, room: Room
) -> Answer | None:
    """The answer to one that makes no job; None for one that does if it gets a place."""
    if earlier is not None:
        assert asked.idempotency is not None
        if earlier.fingerprint != asked.idempotency.fingerprint:
            return _name_reused()
        return Accepted(earlier.accepted, replayed=True)
    try:
        room()
        if asked.retry_of is not None:
            hold(tx, asked.retry_of, asked.key_id)  # it may have been deleted meanwhile
    except ServiceError as error:
        return error
    return None


def _take_places(tx: Transaction, new: Iterable[Submission], limit: int) -> list[bool]:
    """Whether each gets a place in its key's queue; where not all do, the first of them."""
    owners = [asked.key_id for asked in new]
    given = {
        key_id: count
        if keys.enter_queue(tx, key_id, limit=limit, jobs=count)
        else sum(keys.enter_queue(tx, key_id, limit=limit) for _ in range(count))
        for key_id, count in Counter(owners).items()
    }
    placed = []
    for key_id in owners:
        given[key_id] -= 1
        placed.append(given[key_id] >= 0)
    return placed


def _insert(
    tx: Transaction, made: Sequence[tuple[Job, Submission]], *, expires_at: datetime
) -> None:
    jobs.insert(tx, [job for job, _ in made])
    for key_id in {job.key_id for job, _ in made if job.webhook_url is not None}:
        keys.signing_secrets(tx, key_id)  # made now, so that its owner can ask for it
    named = [(job, asked.idempotency) for job, asked in made if asked.idempotency is not None]
    if named:
        idempotency.remember(tx, named, expires_at=expires_at)


def _name_reused() -> RequestRefused:
    detail = "this Idempotency-Key was already used with another request; "
    detail += "use a new one for every new video"
    return RequestRefused(
        [FieldError("", detail, "idempotency_key_reused")], code="idempotency_key_reused"
    )


def _queue_full(limit: int) -> QueueFull:
    return QueueFull(
        f"{limit} of your jobs are already waiting; submit more once some have started"
    )
