"""Statements that insert a row, or add to the one that is there."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite


def adding_upsert(table: sa.Table, *names: str) -> dict[str, Any]:
    """Return the statement of each dialect that inserts a row, or adds these columns of it to the
    row that has its primary key."""
    return {
        "sqlite": _upsert(sqlite.insert(table), table, names),
        "postgresql": _upsert(postgresql.insert(table), table, names),
    }


def _upsert(insert: Any, table: sa.Table, names: tuple[str, ...]) -> Any:
    return insert.on_conflict_do_update(
        index_elements=list(table.primary_key),
        set_={name: table.c[name] + insert.excluded[name] for name in names},
    )
