"""What statements read of the tables that grow with the jobs, by SQLite's plans."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import sqlalchemy as sa

_LARGE = ("jobs", "labels", "attempts", "deliveries", "events")
# Partial indexes of what is open at a moment: they are as small as that is.
_OF_OPEN = (
    *("ix_jobs_claim", "ix_jobs_unspoken", "ix_jobs_lease", "ix_jobs_active_by_key"),
    *("ix_jobs_start_deadline", "ix_deliveries_due", "uq_attempts_open"),
)


class Plan(NamedTuple):
    statement: str
    lines: list[str]

    def scans(self) -> list[str]:
        """The lines that read a large table from one end to the other; a page of it, in the order
        of an index, is none."""
        is_page = "LIMIT" in self.statement and not any("ORDER BY" in line for line in self.lines)
        is_page = is_page and not self._is_picky()
        return [
            line
            for line in self.lines
            if line.startswith(tuple(f"SCAN {table}" for table in _LARGE))
            and not any(index in line for index in _OF_OPEN)
            and not (is_page and "INDEX" in line)
        ]

    def _is_picky(self) -> bool:
        """Tell whether rows are left out while a table is read in the order of its ids."""
        of_ids = any("sqlite_autoindex" in line and "SCAN" in line for line in self.lines)
        return of_ids and " AND " in self.statement


@contextmanager
def plans() -> Iterator[list[Plan]]:
    """The plans of all statements that read, in whatever thread."""
    found: list[Plan] = []

    def explain(_c: object, cursor: Any, statement: str, parameters: Any, *_: object) -> None:
        if statement.lstrip().startswith(("SELECT", "WITH")):
            rows = cursor.connection.cursor().execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            found.append(Plan(statement, [row[3] for row in rows]))

    sa.event.listen(sa.Engine, "before_cursor_execute", explain)
    try:
        yield found
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", explain)
