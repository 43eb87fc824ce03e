"""Brings the database to this release, or says in plain words why that cannot be."""

from alembic.util import CommandError
from sqlalchemy.exc import SQLAlchemyError

from service.cli.exits import Exit, Stop
from service.domain.errors import Unavailable
from service.installation import install_command
from service.settings import Settings
from service.store.engine import check_sessions
from service.store.schema import check_schema, migrate


def make_ready(settings: Settings) -> None:
    """A SQLite file is ours alone, so it is upgraded; a shared database is only looked at."""
    if settings.database_url.startswith("sqlite"):
        upgrade(settings)
        return
    try:
        check_sessions(settings.database_url)
        check_schema(settings.database_url)
    except Unavailable as error:
        raise Stop(Exit.IN_THE_WAY, error.message) from error
    except (SQLAlchemyError, ImportError) as error:
        raise Stop(Exit.IN_THE_WAY, f"the database cannot be read: {reason(error)}") from error


def upgrade(settings: Settings) -> None:
    """Stops the command when the database is away, broken, or of a newer release."""
    try:
        if settings.database_url.startswith("sqlite"):
            settings.data_dir.mkdir(parents=True, exist_ok=True)
        check_sessions(settings.database_url)
        migrate(settings.database_url)
    except CommandError as error:
        why = f"it was made by another release of Rushes ({error}); upgrade Rushes"
    except Unavailable as error:
        why = error.message
    except (SQLAlchemyError, ImportError, OSError) as error:
        why = reason(error)
    else:
        return
    raise Stop(Exit.IN_THE_WAY, f"the database cannot be brought up to date: {why}")


def reason(error: Exception) -> str:
    """In one line; SQLAlchemy adds the statement and a link to what the driver says."""
    first = str(error).partition("\n")[0]
    missing = isinstance(error, ImportError)
    return f"{first}; {install_command('postgres')} installs it" if missing else first
