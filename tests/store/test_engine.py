import sqlite3
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from service.domain.errors import NotFound, Unavailable
from service.store import keys
from service.store.database import Database
from service.store.engine import check_durable, make_engine
from service.store.transaction import Transaction
from tests import make
from tests.conftest import connected, new_database


def test_the_file_is_durable_at_every_commit(sqlite_url: str) -> None:
    engine = make_engine(sqlite_url)
    with engine.connect() as connection:
        found = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    engine.dispose()

    assert found == ["wal", 2, 1]  # 2 is FULL


def test_a_postgres_that_would_lose_jobs_is_refused(postgres: sa.URL) -> None:
    url = new_database(postgres)
    check_durable(url)
    with connected(url) as connection:
        name = sa.make_url(url).database
        connection.exec_driver_sql(f"ALTER DATABASE {name} SET synchronous_commit = off")

    with pytest.raises(Unavailable, match="synchronous_commit = off"):
        check_durable(url)


def test_a_read_sees_what_was_written_before(db: Database) -> None:
    key_id, _ = make.key(db)

    assert [key.id for key in db.read(keys.every)] == [key_id]


def test_a_read_does_not_wait_for_a_write(db: Database) -> None:
    gate = threading.Event()

    def write(tx: Transaction) -> None:
        keys.insert(tx, make.new_key("k" * 30, name="n", now=make.START))
        gate.wait(5)

    writing = db.write(write)
    seen = db.read(keys.every)
    gate.set()
    writing.result()

    assert seen == []
    assert len(db.read(keys.every)) == 1


def test_a_read_cannot_write(db: Database) -> None:
    key = make.new_key("s" * 30, name="n", now=make.START)

    with pytest.raises((Unavailable, sa.exc.DBAPIError)) as refused:
        db.read(lambda tx: keys.insert(tx, key))
    why = str(refused.value.__cause__ or refused.value)
    assert "readonly" in why or "read-only" in why


def test_a_failing_piece_of_work_harms_only_its_own_caller(db: Database) -> None:
    gate = threading.Event()
    blocker = db.write(lambda tx: gate.wait(5))  # so that the rest shares one batch

    def fail_after_writing(tx: Transaction) -> None:
        keys.insert(tx, make.new_key("bad" * 10, name="bad", now=make.START))
        raise NotFound("as planned")

    good = [make.new_key(f"good-{n}-" * 5, name=f"good {n}", now=make.START) for n in range(3)]
    futures = [db.write(lambda tx, key=key: keys.insert(tx, key)) for key in good]
    futures.insert(1, db.write(fail_after_writing))
    gate.set()
    blocker.result()

    errors = [future.exception() for future in futures]
    assert [type(error) for error in errors] == [type(None), NotFound, type(None), type(None)]
    assert [key.name for key in db.read(keys.every)] == ["good 0", "good 1", "good 2"]


def test_work_that_waits_is_committed_together(db: Database, tmp_path: Path) -> None:
    gate = threading.Event()
    blocker = db.write(lambda tx: gate.wait(5))
    commits: list[int] = []
    sa.event.listen(db._engine, "commit", lambda connection: commits.append(1))
    futures = [db.write(lambda tx: tx.notify("x")) for _ in range(40)]
    gate.set()

    blocker.result()
    for future in futures:
        future.result()

    assert len(commits) <= 3


def test_topics_are_rung_after_the_commit_and_only_for_work_that_held(migrated: Path) -> None:
    heard: list[str] = []
    database = Database(f"sqlite:///{migrated}", heard.extend)

    def refuse(tx: Transaction) -> None:
        tx.notify("never")
        raise NotFound("as planned")

    database.write(lambda tx: tx.notify("job")).result()
    with pytest.raises(NotFound):
        database.write(refuse).result()
    database.close()

    assert heard == ["job"]


def test_closing_finishes_what_was_asked_for(migrated: Path, tmp_path: Path) -> None:
    path = tmp_path / "close.db"
    path.write_bytes(migrated.read_bytes())
    database = Database(f"sqlite:///{path}", lambda topics: None)
    made = [make.new_key(f"key-{n}-" * 5, name=str(n), now=make.START) for n in range(50)]
    futures = [database.write(lambda tx, key=key: keys.insert(tx, key)) for key in made]

    database.close()

    assert all(future.done() and future.exception() is None for future in futures)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM keys").fetchone() == (50,)


def test_a_write_transaction_takes_the_lock_at_once(migrated: Path, tmp_path: Path) -> None:
    path = tmp_path / "lock.db"
    path.write_bytes(migrated.read_bytes())
    engine = make_engine(f"sqlite:///{path}")

    with engine.connect() as connection, connection.begin():
        connection.execute(sa.text("SELECT 1"))
        other = sqlite3.connect(path, timeout=0, isolation_level=None)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        other.close()
    engine.dispose()


def test_a_refusal_of_the_database_harms_only_its_own_caller(db: Database) -> None:
    gate = threading.Event()
    blocker = db.write(lambda tx: gate.wait(5))
    twin = make.new_key("twin" * 10, name="twin", now=make.START)
    futures = [db.write(lambda tx: keys.insert(tx, twin)) for _ in range(3)]
    gate.set()
    blocker.result()

    errors = [type(future.exception()) for future in futures]

    assert errors == [type(None), sa.exc.IntegrityError, sa.exc.IntegrityError]
    assert len(db.read(keys.every)) == 1


def test_the_writer_outlives_a_listener_that_fails(
    migrated: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(migrated.read_bytes())

    def fail(topics: object) -> None:
        raise RuntimeError("as planned")

    database = Database(f"sqlite:///{path}", fail)
    assert database.write(lambda tx: 1).result(5) == 1
    assert database.write(lambda tx: 2).result(5) == 2
    database.close()

    assert "could not be published" in caplog.text


def test_what_comes_after_the_close_is_answered(db: Database) -> None:
    db.read(keys.every)
    db.close()

    with pytest.raises(Unavailable, match="stopping"):
        db.write(lambda tx: 1).result(5)
    with pytest.raises(Unavailable, match="stopping"):
        db.read(keys.every)


def test_a_lost_disk_is_unavailable_and_not_our_fault(migrated: Path, tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/no/such/folder/x.db", lambda topics: None)

    with pytest.raises(Unavailable, match="does not answer"):
        database.read(keys.every)
    with pytest.raises(Unavailable, match="does not answer"):
        database.write(keys.every).result(5)
    database.close()


def test_alike_work_that_waits_is_done_at_once(db: Database) -> None:
    gate = threading.Event()
    blocker = db.write(lambda tx: gate.wait(5))
    handed: list[list[int]] = []

    def double(tx: Transaction, numbers: list[int]) -> list[int]:
        handed.append(numbers)
        return [2 * number for number in numbers]

    futures = [db.write_together(double, number) for number in range(20)]
    gate.set()
    blocker.result()

    assert [future.result() for future in futures] == [2 * number for number in range(20)]
    assert handed == [list(range(20))]


def test_an_error_among_the_answers_is_that_items_alone(db: Database) -> None:
    gate = threading.Event()
    blocker = db.write(lambda tx: gate.wait(5))

    def even(tx: Transaction, numbers: list[int]) -> list[int | NotFound]:
        return [NotFound("odd") if number % 2 else number for number in numbers]

    futures = [db.write_together(even, number) for number in range(4)]
    gate.set()
    blocker.result()

    assert [type(future.exception()) for future in futures] == [
        type(None), NotFound, type(None), NotFound
    ]  # fmt: skip


def test_alike_work_that_spoils_the_transaction_is_done_one_by_one(db: Database) -> None:
    gate = threading.Event()
    blocker = db.write(lambda tx: gate.wait(5))

    def add(tx: Transaction, names: list[str]) -> list[str]:
        for name in names:
            keys.insert(tx, make.new_key(name * 5, name=name, now=make.START))
        return names

    futures = [db.write_together(add, name) for name in ("secret-a", "secret-b", "secret-a")]
    gate.set()
    blocker.result()

    failed = [future.exception() is not None for future in futures]
    assert failed == [False, False, True]  # the prefix of a key is unique
    assert sorted(key.name for key in db.read(keys.every)) == ["secret-a", "secret-b"]


def test_a_session_that_only_reads_is_dropped_by_the_writer_and_by_all_readers(
    postgres_url: str,
) -> None:
    """After a failover a session may still be with the old server, and what it shows is old."""
    database = Database(postgres_url, lambda topics: None)

    def process(tx: Transaction) -> int:
        return int(tx.connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())

    def only_read(tx: Transaction) -> None:
        tx.connection.exec_driver_sql("SET default_transaction_read_only = on")

    reader, writer = database.read(process), make.do(database, process)
    make.do(database, only_read)
    made = make.key(database)[0]  # in another session, without an error
    try:
        assert made in [key.id for key in database.read(keys.every)]
        assert reader != database.read(process)
        assert writer != make.do(database, process)
    finally:
        database.close()


@pytest.mark.parametrize("read_only", [False, True])
def test_an_error_tells_nothing_of_what_a_statement_was_given(
    database_url: str, read_only: bool
) -> None:
    """They are prompts and secrets, and errors are logged."""
    engine = make_engine(database_url, read_only=read_only, bounded=not read_only)
    statement = sa.text("SELECT * FROM nowhere WHERE prompt = :prompt")

    with engine.connect() as connection, pytest.raises(sa.exc.DBAPIError) as failed:
        connection.execute(statement, {"prompt": "a confidential prompt"})
    engine.dispose()

    assert "nowhere" in str(failed.value)
    assert "confidential" not in str(failed.value)
