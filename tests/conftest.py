import gc
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings

from service.domain.ids import KeyId
from service.store.database import Database
from service.store.schema import migrate
from tests import make
from tests.servers import postgres_server

# Nothing is judged by how long it takes: that depends on the machine.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

DATABASES = ("sqlite", "postgres")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Search for no garbage among thousands of tests: not while they are made, nor later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that have slow tests: the last one to end leaves the others idle."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture
def clock() -> make.FakeClock:
    return make.FakeClock()


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty SQLite file, to copy: migrating costs more than most tests."""
    path = tmp_path_factory.mktemp("migrated") / "rushes.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres() -> Iterator[sa.URL]:
    """A real Postgres server of this test process."""
    folder = tempfile.TemporaryDirectory(prefix="rpg", dir="/tmp")
    with folder as name, postgres_server(Path(name)) as url:
        yield url


@pytest.fixture(scope="session")
def kept_postgres_url(postgres: sa.URL) -> str:
    url = new_database(postgres)
    migrate(url)
    return url


@pytest.fixture
def postgres_url(kept_postgres_url: str) -> Iterator[str]:
    """A migrated, empty database; the same one for every test of this process, emptied after."""
    yield kept_postgres_url
    with connected(kept_postgres_url) as connection:
        connection.exec_driver_sql(
            "TRUNCATE keys, jobs, labels, attempts, idempotency, endpoints, events, deliveries,"
            " ledger, turns, totals, hours, timeline, sessions, paused_models, warm_models, audit,"
            " bulk_actions, bulk_items, avatars, voices"
        )


def new_database(server: sa.URL) -> str:
    """The URL of a new database without tables."""
    name = f"t{uuid4().hex}"
    with connected(server) as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    return server.set(database=name).render_as_string(hide_password=False)


@contextmanager
def connected(url: str | sa.URL) -> Iterator[sa.Connection]:
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        yield connection


@pytest.fixture
def sqlite_url(migrated: Path, tmp_path: Path) -> str:
    path = tmp_path / "rushes.db"
    path.write_bytes(migrated.read_bytes())
    return f"sqlite:///{path}"


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest) -> str:
    """Each of the two kinds of database, migrated and empty."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    database = Database(database_url, lambda topics: None)
    yield database
    database.close()


@pytest.fixture
def key_id(db: Database) -> KeyId:
    return make.key(db)[0]
