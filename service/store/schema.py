"""Bringing a database to the tables of this release, and telling when it is not there."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from service.domain.errors import Unavailable
from service.store.engine import make_engine


def migrate(url: str) -> None:
    """Apply every migration that `url` still lacks."""
    command.upgrade(alembic_config(url), "head")


def check_schema(url: str) -> None:
    """Raise Unavailable unless `url` is at exactly this release's revision."""
    wanted = ScriptDirectory.from_config(alembic_config(url)).get_current_head()
    found = current_revision(url)
    if found == wanted:
        return
    if found is None:
        raise Unavailable("the database has no tables yet; run `rushes migrate`")
    known = {script.revision for script in _scripts(url).walk_revisions()}
    if found not in known:
        raise Unavailable(
            f"the database is at revision {found}, which this release does not know: "
            "it was migrated by a newer release; upgrade Rushes"
        )
    raise Unavailable(
        f"the database is at revision {found} and this release needs {wanted}; run `rushes migrate`"
    )


def current_revision(url: str) -> str | None:
    engine = make_engine(url, read_only=True)
    try:
        with engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()
    finally:
        engine.dispose()


def alembic_config(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_migrations()))
    config.attributes["url"] = sa.make_url(url)
    return config


def _scripts(url: str) -> ScriptDirectory:
    return ScriptDirectory.from_config(alembic_config(url))


def _migrations() -> Path:
    """Beside the package in a checkout; inside it when installed from a wheel."""
    installed = Path(__file__).parent / "migrations"
    return installed if installed.exists() else Path(__file__).parents[2] / "migrations"
