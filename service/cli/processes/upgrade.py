"""Migrate the database to this release."""

from alembic.util import CommandError
from sqlalchemy.exc import SQLAlchemyError

from service.cli.exits import CliError, Exit
from service.domain.errors import Unavailable
from service.installation import install_command
from service.settings import Settings
from service.store.engine import check_sessions
from service.store.schema import check_schema, migrate


def prepare_database(settings: Settings) -> None:
    """Migrate a SQLite file; only check a Postgres, which others may share. Raises CliError."""
    if settings.database_url.startswith("sqlite"):
        upgrade(settings)
        return
    try:
        check_sessions(settings.database_url)
        check_schema(settings.database_url)
    except Unavailable as error:
        raise CliError(Exit.FAILURE, error.message) from error
    except (SQLAlchemyError, ImportError) as error:
        raise CliError(Exit.FAILURE, f"the database cannot be read: {error_line(error)}") from error


def upgrade(settings: Settings) -> None:
    """Migrate. Raises CliError if the database is unreachable, broken or of a newer release."""
    try:
        if settings.database_url.startswith("sqlite"):
            settings.data_dir.mkdir(parents=True, exist_ok=True)
        check_sessions(settings.database_url)
        migrate(settings.database_url)
    except CommandError as error:
        cause = f"it belongs to another release of Rushes ({error}); upgrade Rushes"
    except Unavailable as error:
        cause = error.message
    except (SQLAlchemyError, ImportError, OSError) as error:
        cause = error_line(error)
        if "disk is full" in cause:  # SQLite's words, without a place
            cause = (
                f"the disk of {settings.data_dir.resolve()} is full; free some space, or choose "
                "another folder: RUSHES_DATA_DIR"
            )
    else:
        return
    raise CliError(Exit.FAILURE, f"the database cannot be migrated: {cause}")


def error_line(error: Exception) -> str:
    """Return the first line; SQLAlchemy adds the statement and a link to the driver's message."""
    first = str(error).partition("\n")[0]
    is_missing = isinstance(error, ImportError)
    return f"{first}; {install_command('postgres')} installs it" if is_missing else first
