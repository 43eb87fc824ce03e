from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.util.exc import CommandError
from fastapi.testclient import TestClient

from service.app import build
from service.domain.errors import Unavailable
from service.settings import Settings
from service.store.engine import make_engine
from service.store.schema import alembic_config, check_schema, current_revision, migrate


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'm.db'}"


def test_the_migrations_make_exactly_the_tables(url: str) -> None:
    migrate(url)

    command.check(alembic_config(url))  # raises when a table and its migration differ


def test_a_difference_would_be_seen(url: str) -> None:
    migrate(url)
    engine = make_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP INDEX ix_jobs_claim"))
    engine.dispose()

    with pytest.raises(CommandError, match="ix_jobs_claim"):
        command.check(alembic_config(url))


def test_migrating_twice_changes_nothing(url: str) -> None:
    migrate(url)
    first = current_revision(url)

    migrate(url)

    assert current_revision(url) == first
    check_schema(url)


def test_an_unmigrated_database_is_refused_with_the_way_out(url: str) -> None:
    with pytest.raises(Unavailable, match="rushes migrate"):
        check_schema(url)


def test_a_database_of_a_newer_release_is_refused(url: str) -> None:
    migrate(url)
    engine = make_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()

    with pytest.raises(Unavailable, match="newer release"):
        check_schema(url)


def test_the_service_does_not_start_on_a_database_that_is_not_ready(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path)

    with pytest.raises(Unavailable, match="rushes migrate"), TestClient(build(settings)):
        pass


def test_every_word_of_an_enum_column_is_checked_by_the_database(url: str) -> None:
    migrate(url)
    engine = make_engine(url)
    with engine.connect() as connection:
        tables = connection.execute(
            sa.text("SELECT sql FROM sqlite_master WHERE name = 'jobs'")
        ).scalar_one()
    engine.dispose()

    for name in (
        "ck_jobs_state",
        "ck_jobs_stage",
        "ck_jobs_error_kind",
        "ck_jobs_lease_iff_active",
    ):
        assert f"CONSTRAINT {name} CHECK" in tables
