"""A transaction: its connection and the topics announced by its commit."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.base import Executable

from service.domain.topics import Topic


@dataclass
class Transaction:
    """One unit of work. `notify` adds a topic to announce after the commit; `before_commit`
    callbacks run once all work of the commit is done, `undo` callbacks after a rollback, before any
    other work."""

    connection: sa.Connection
    topics: list[Topic] = field(default_factory=list)
    wrote: bool = False
    undo: list[Callable[[], None]] = field(default_factory=list)
    before_commit: list[Callable[[], None]] = field(default_factory=list)

    def execute(self, statement: Executable, values: Any = None) -> sa.CursorResult[Any]:
        result = self.connection.execute(statement, values)
        if not statement.is_select:
            # A guarded UPDATE that matched no row wrote nothing.
            self.wrote = self.wrote or result.returns_rows or result.rowcount != 0
        return result

    def notify(self, topic: Topic) -> None:
        self.topics.append(topic)
