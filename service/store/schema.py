"""Bringing a database to the tables of this release, and telling when it is not there.

Alembic is opened only where there is something to migrate or to explain: it would be a quarter of
what a container that starts for one request loads.
"""

from pathlib import Path
from typing import Any

import sqlalchemy as sa

from service.domain.errors import Unavailable
from service.store.engine import make_engine


def migrate(url: str) -> None:
    """Apply every migration that `url` still lacks. Raises Unavailable."""
    if current_revision(url) == newest_revision():
        return
    from alembic import command

    command.upgrade(alembic_config(url), "head")


def check_schema(url: str) -> None:
    """Raise Unavailable unless `url` is at exactly this release's revision."""
    wanted = newest_revision()
    found = current_revision(url)
    if found == wanted:
        return
    if found is None:
        raise Unavailable("the database has no tables yet; run `rushes migrate`")
    if found not in _revisions():
        raise Unavailable(
            f"the database is at revision {found}, which this release does not know: "
            "it was migrated by a newer release; upgrade Rushes"
        )
    raise Unavailable(
        f"the database is at revision {found} and this release needs {wanted}; run `rushes migrate`"
    )


def current_revision(url: str) -> str | None:
    """The revision of the tables that are there; None where there are none."""
    engine = make_engine(url, read_only=True)
    try:
        with engine.connect() as connection:
            if not sa.inspect(connection).has_table("alembic_version"):
                return None
            found: str | None = connection.scalar(
                sa.text("SELECT version_num FROM alembic_version")
            )
            return found
    finally:
        engine.dispose()


def newest_revision() -> str:
    return max(_revisions())


def _revisions() -> set[str]:
    """Told by the names of their files: `make migration` numbers both alike."""
    return {path.name.partition("_")[0] for path in _migrations().glob("versions/[0-9]*.py")}


def alembic_config(url: str) -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_migrations()))
    config.attributes["url"] = sa.make_url(url)
    return config


def _migrations() -> Path:
    """Beside the package in a checkout; inside it when installed from a wheel."""
    installed = Path(__file__).parent / "migrations"
    return installed if installed.exists() else Path(__file__).parents[2] / "migrations"
