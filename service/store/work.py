"""Pieces of work for the writer, and their answers."""

from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from service.domain.errors import ServiceError
from service.store.readers import unavailable
from service.store.transaction import Transaction

T = TypeVar("T")
Item = TypeVar("Item")


# Work of one kind on several items: an answer for each, which is an error where it must be one.
Together: TypeAlias = Callable[[Transaction, list[Item]], Sequence[T | ServiceError]]


@dataclass
class Work(Generic[Item, T]):
    """`lane` names the row whose lock it needs, where that is known; `until` is when it has waited
    for a lock for long enough."""

    run: Together[Item, T]
    item: Item
    soft: bool = False
    lane: Hashable = None
    until: float | None = None
    future: Future[T] = field(default_factory=Future)

    def resolve(self, answer: T | Exception) -> None:
        if isinstance(answer, Exception):
            self.future.set_exception(answer)
        else:
            self.future.set_result(answer)


@dataclass(frozen=True)
class Done:
    """A piece of work that is committed and not yet answered: by an error where it must be one."""

    work: Work[Any, Any]
    answer: Any
    topics: Sequence[str] = ()


def by_kind(batch: list[Work[Any, Any]]) -> list[list[Work[Any, Any]]]:
    """By what they run, in the order in which each kind came first."""
    kinds: dict[Any, list[Work[Any, Any]]] = {}
    for work in batch:
        kinds.setdefault(work.run, []).append(work)
    return list(kinds.values())


def all_topics(done: list[Done]) -> list[str]:
    return [topic for one in done for topic in one.topics]


def answer_all(done: list[Done]) -> None:
    for one in done:
        one.work.resolve(one.answer)


def fail_all(batch: list[Work[Any, Any]], error: Exception) -> None:
    told = unavailable(error) if isinstance(error, SQLAlchemyError) else error
    for work in batch:
        work.future.set_exception(told)
