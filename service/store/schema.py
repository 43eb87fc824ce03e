"""Migrate a database to this release's schema, and check its revision.

Alembic is imported only to migrate: it would be a quarter of what a container that starts for one
request loads.
"""

from pathlib import Path
from typing import Any

import sqlalchemy as sa

from service.domain.errors import Unavailable
from service.store.engine import make_engine


def migrate(url: str) -> None:
    """Apply all pending migrations. Raises Unavailable."""
    if current_revision(url) == newest_revision():
        return
    from alembic import command

    command.upgrade(alembic_config(url), "head")


def check_schema(url: str) -> None:
    """Raise Unavailable unless `url` is at exactly this release's revision."""
    newest = newest_revision()
    current = current_revision(url)
    if current == newest:
        return
    if current is None:
        raise Unavailable("the database has no tables yet; run `rushes migrate`")
    if current not in _revisions():
        raise Unavailable(
            f"the database is at revision {current} of a newer release; upgrade Rushes"
        )
    raise Unavailable(
        f"the database is at revision {current}, this release needs {newest}; run `rushes migrate`"
    )


def current_revision(url: str) -> str | None:
    """Return the revision of the database's tables; None where there are none."""
    engine = make_engine(url, read_only=True)
    try:
        with engine.connect() as connection:
            if not sa.inspect(connection).has_table("alembic_version"):
                return None
            revision: str | None = connection.scalar(
                sa.text("SELECT version_num FROM alembic_version")
            )
            return revision
    finally:
        engine.dispose()


def newest_revision() -> str:
    return max(_revisions())


def _revisions() -> set[str]:
    """Read the revisions from the file names, which `make migration` numbers alike."""
    return {path.name.partition("_")[0] for path in _migrations().glob("versions/[0-9]*.py")}


def alembic_config(url: str) -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_migrations()))
    config.attributes["url"] = sa.make_url(url)
    return config


def _migrations() -> Path:
    """Locate the migrations: inside an installed package, beside it in a checkout."""
    inside = Path(__file__).parent / "migrations"
    return inside if inside.exists() else Path(__file__).parents[2] / "migrations"
