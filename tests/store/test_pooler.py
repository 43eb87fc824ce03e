"""PgBouncer between the service and its Postgres; a package of Debian, so that it may be absent."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from service.app import build
from service.cli import checks
from service.cli.exits import CliError
from service.cli.processes.upgrade import prepare_database, upgrade
from service.domain.errors import Unavailable
from service.settings import Settings
from service.store.engine import check_sessions
from service.store.schema import check_schema, current_revision, newest_revision

_PROGRAM = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
pytestmark = pytest.mark.skipif(_PROGRAM is None, reason="needs PgBouncer (Debian: pgbouncer)")

Pooler = Callable[..., str]


@contextmanager
def pgbouncer(server: sa.URL, **settings: object) -> Iterator[sa.URL]:
    """A pooler before that database; it must not run as root."""
    assert _PROGRAM is not None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with TemporaryDirectory(prefix="bouncer", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "users").write_text(f'"{server.username}" ""\n')
        told = {
            "listen_addr": "127.0.0.1",
            "listen_port": port,
            "unix_socket_dir": "",
            "auth_type": "trust",
            "auth_file": folder / "users",
            **settings,
        }
        lines = ["[databases]", f"* = host={server.query['host']}", "[pgbouncer]"]
        lines += [f"{name} = {value}" for name, value in told.items()]
        (folder / "ini").write_text("\n".join(lines) + "\n")
        # As root the server has a user of its own, who alone reaches its socket.
        user = Path(str(server.query["host"])).owner() if os.getuid() == 0 else None
        with (folder / "log").open("w") as log:
            process = subprocess.Popen([_PROGRAM, folder / "ini"], user=user, stderr=log)
        try:
            _wait_for(port, process, folder / "log")
            yield server.set(host="127.0.0.1", port=port, query={})
        finally:
            process.kill()
            process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            assert process.poll() is None, log.read_text()
            time.sleep(0.02)


@pytest.fixture
def pooler(postgres_url: str) -> Iterator[Pooler]:
    """Starts one with these settings; answers the address of the migrated database there."""
    with ExitStack() as stack:

        def start(**settings: object) -> str:
            url = stack.enter_context(pgbouncer(sa.make_url(postgres_url), **settings))
            return url.render_as_string(hide_password=False)

        yield start


def open_sessions(url: str, number: int) -> None:
    """Leave the pooler with that many sessions that are free."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with ExitStack() as stack:
        for _ in range(number):
            stack.enter_context(engine.connect()).exec_driver_sql("SELECT 1")


@pytest.mark.parametrize("in_turn", [0, 1])
@pytest.mark.parametrize("free", [0, 1, 2, 3, 5])
def test_a_pooler_that_lends_sessions_by_the_transaction_is_refused(
    pooler: Pooler, in_turn: int, free: int
) -> None:
    url = pooler(pool_mode="transaction", server_round_robin=in_turn)
    open_sessions(url, free)

    with pytest.raises(Unavailable, match="pool_mode=transaction"):
        check_sessions(url)


def test_a_refused_pooler_is_told_in_one_line_and_nothing_is_left_in_its_sessions(
    pooler: Pooler, tmp_path: Path
) -> None:
    url = pooler(pool_mode="transaction", default_pool_size=1)
    settings = Settings(_env_file=None, database_url=url, data_dir=tmp_path)

    with pytest.raises(Unavailable, match="pool_mode=transaction"), TestClient(build(settings)):
        pass
    assert "pool_mode=transaction" in checks.database(settings).detail
    for command in (prepare_database, upgrade):
        with pytest.raises(CliError) as refused:
            command(settings)
        assert "name the server's own address and port" in str(refused.value)
        assert "\n" not in str(refused.value)

    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        found = [
            connection.exec_driver_sql(f"SHOW {name}").scalar()
            for name in ("default_transaction_read_only", "lock_timeout", "statement_timeout")
        ]
    assert found == ["off", "0", "0"]


def test_a_pooler_that_lends_sessions_for_good_is_as_the_server_itself(
    pooler: Pooler, postgres_url: str
) -> None:
    for url in (pooler(pool_mode="session"), postgres_url):
        check_sessions(url)
        check_schema(url)


def test_the_revision_of_a_database_is_told_without_a_judgement_of_its_server(
    pooler: Pooler,
) -> None:
    assert current_revision(pooler(pool_mode="transaction")) == newest_revision()
