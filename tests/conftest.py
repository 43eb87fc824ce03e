from collections.abc import Iterator
from pathlib import Path

import pytest

from service.domain.job import KeyId
from service.store.database import Database
from service.store.schema import migrate
from tests import make


@pytest.fixture
def clock() -> make.FakeClock:
    return make.FakeClock()


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty SQLite file, to copy: migrating costs more than most tests."""
    path = tmp_path_factory.mktemp("migrated") / "rushes.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def db(migrated: Path, tmp_path: Path) -> Iterator[Database]:
    path = tmp_path / "rushes.db"
    path.write_bytes(migrated.read_bytes())
    database = Database(f"sqlite:///{path}", lambda topics: None)
    yield database
    database.close()


@pytest.fixture
def key_id(db: Database) -> KeyId:
    return make.key(db)[0]
