"""A transaction: the connection and the topics that its commit announces."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.base import Executable


@dataclass
class Transaction:
    """One unit of work. `notify` names what must be heard about once this is committed; `undo` is
    done where it is not, before any other work runs."""

    connection: sa.Connection
    topics: list[str] = field(default_factory=list)
    wrote: bool = False
    undo: list[Callable[[], None]] = field(default_factory=list)

    def execute(self, statement: Executable, values: Any = None) -> sa.CursorResult[Any]:
        result = self.connection.execute(statement, values)
        if not statement.is_select:
            # A guarded UPDATE that matched nothing has spoiled nothing.
            self.wrote = self.wrote or result.returns_rows or result.rowcount != 0
        return result

    def notify(self, topic: str) -> None:
        self.topics.append(topic)
