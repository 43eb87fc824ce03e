"""Pieces of work for the writer, and their answers."""

from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from service.domain.errors import ServiceError
from service.domain.topics import Topic
from service.store.readers import unavailable
from service.store.transaction import Transaction

T = TypeVar("T")
Item = TypeVar("Item")

# Run on several items at once: an answer for each, which is an error where it must be one.
BatchRun: TypeAlias = Callable[[Transaction, list[Item]], Sequence[T | ServiceError]]


@dataclass
class Work(Generic[Item, T]):
    """One item to write, and the future that its caller waits for.

    Work that is not `replicated` is answered once this machine has committed it. `lock` names the
    row whose lock it needs, where that is known; `wait_until` is when it has waited for a lock for
    long enough.
    """

    run: BatchRun[Item, T]
    item: Item
    replicated: bool = True
    lock: Hashable = None
    wait_until: float | None = None
    future: Future[T] = field(default_factory=Future)

    def resolve(self, answer: T | Exception) -> None:
        if isinstance(answer, Exception):
            self.future.set_exception(answer)
        else:
            self.future.set_result(answer)


@dataclass(frozen=True)
class Done:
    """A piece of work that is committed and not yet answered."""

    work: Work[Any, Any]
    answer: Any
    topics: Sequence[Topic] = ()


@dataclass(frozen=True)
class Commit:
    """Committed work whose callers wait until it is durable."""

    works: Sequence[Done]
    topics: Sequence[Topic]
    publish_topics: Callable[[Sequence[Topic]], None]

    def publish(self) -> None:
        self.publish_topics(self.topics)

    def answer(self) -> None:
        for result in self.works:
            result.work.resolve(result.answer)

    def fail(self, error: Exception) -> None:
        fail_all([result.work for result in self.works], error)


def by_run(batch: list[Work[Any, Any]]) -> list[list[Work[Any, Any]]]:
    """Group works by what they run, in the order in which each run came first."""
    groups: dict[Any, list[Work[Any, Any]]] = {}
    for work in batch:
        groups.setdefault(work.run, []).append(work)
    return list(groups.values())


def fail_all(batch: list[Work[Any, Any]], error: Exception) -> None:
    answer = unavailable(error) if isinstance(error, SQLAlchemyError) else error
    for work in batch:
        work.future.set_exception(answer)
