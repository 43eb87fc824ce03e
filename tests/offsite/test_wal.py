"""Where SQLite's log ends, read from its bytes, and that a base with it is the database."""

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from service.offsite.wal import LogReplaced, Position, read_since, wal_path


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "a.db"


@pytest.fixture
def connection(database: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(database, isolation_level=None)) as found:
        found.executescript(
            "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (n, blob)"
        )
        found.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        yield found


def rows(folder: Path, base: bytes, log: bytes) -> list[int]:
    copy = folder / "copy.db"
    copy.write_bytes(base)
    wal_path(copy).write_bytes(log)
    with closing(sqlite3.connect(copy)) as found:
        assert found.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        numbers = [row[0] for row in found.execute("SELECT n FROM t ORDER BY n")]
    copy.unlink()
    return numbers


def test_an_empty_log_has_nothing(connection: sqlite3.Connection, database: Path) -> None:
    assert read_since(database, Position()) == (b"", Position())


def test_the_pieces_of_a_log_are_what_was_committed_by_then(
    connection: sqlite3.Connection, database: Path, tmp_path: Path
) -> None:
    """Among them transactions so large that SQLite writes them before they are committed, of which
    some are undone."""
    chance = random.Random(7)
    base, log, position, expected = database.read_bytes(), b"", Position(), []
    connection.execute("PRAGMA cache_size = 5")
    undone_large = 0
    for number in range(60):
        pages = chance.choice([1, 1, 1, 40])
        connection.execute("BEGIN IMMEDIATE")
        for _ in range(pages):
            connection.execute("INSERT INTO t VALUES (?, randomblob(3000))", (number,))
        if undone := chance.random() < 0.4:
            undone_large += pages > 1
            connection.execute("ROLLBACK")
        else:
            connection.execute("COMMIT")
            expected += [number] * pages

        more, position = read_since(database, position)

        assert bool(more) is not undone
        log += more
        if number % 5 == 0:
            assert rows(tmp_path, base, log) == expected
    assert undone_large
    assert rows(tmp_path, base, log) == expected


def test_a_log_that_began_anew_is_noticed(connection: sqlite3.Connection, database: Path) -> None:
    connection.execute("INSERT INTO t VALUES (1, NULL)")
    _, position = read_since(database, Position())

    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    with pytest.raises(LogReplaced):
        read_since(database, position)
    for number in range(5):
        connection.execute("INSERT INTO t VALUES (?, NULL)", (number,))
    with pytest.raises(LogReplaced):
        read_since(database, position)


def test_a_log_that_is_gone_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(LogReplaced):
        read_since(tmp_path / "none.db", Position(4152, b"12345678"))
