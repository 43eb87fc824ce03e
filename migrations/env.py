"""Runs the migrations, on SQLite and on Postgres alike."""

from typing import Any, Literal

from alembic import context
from sqlalchemy.types import TypeDecorator
from sqlmodel import SQLModel

from service.settings import Settings
from service.store import admin_tables, hours, likeness_tables, tables  # noqa: F401 - fill SQLModel.metadata
from service.store.engine import make_engine


def plain_type(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """Write our column types as what they are made of: a migration must not change with them."""
    if kind == "type" and isinstance(item, TypeDecorator):
        return f"sa.{item.impl!r}" if item.impl is not None else False
    return False


def run() -> None:
    url = context.config.attributes.get("url") or Settings().database_url
    engine = make_engine(url)
    with engine.connect() as connection:
        sqlite = connection.dialect.name == "sqlite"
        if sqlite:
            # A table that batch mode rebuilds would take its children along (ON DELETE CASCADE).
            # Said to the driver itself: within a transaction this pragma does nothing.
            connection.connection.cursor().execute("PRAGMA foreign_keys = OFF")
        context.configure(
            connection=connection,
            target_metadata=SQLModel.metadata,
            render_as_batch=sqlite,
            transaction_per_migration=True,
            compare_type=True,
            render_item=plain_type,
        )
        with context.begin_transaction():
            context.run_migrations()
        if sqlite:
            broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
            assert not broken, f"rows that point nowhere: {broken[:5]}"
    engine.dispose()


run()
