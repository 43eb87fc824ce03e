"""Brings the newest sound state of a database back from its offsite copies."""

import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import takewhile
from pathlib import Path

from service.domain.errors import Unavailable
from service.log import Log
from service.offsite.generations import Copy, Generation, digest, newest_epoch, read_names, states
from service.offsite.ports import BlobStore
from service.offsite.wal import log_of

log = Log(__name__)

_AT_ONCE = 8


def restore(shelf: BlobStore, database: Path, epoch: int) -> Generation | None:
    """Put the newest state from before `epoch` at `database`: whose it was, or None where nothing
    was ever kept. What lay there is removed.

    Raises Unavailable when there are copies and none is sound: to begin with nothing would throw
    them away; and when an epoch as late as ours has already kept something.
    """
    copies = read_names(shelf.names())
    if newest_epoch(copies) >= epoch:
        raise Unavailable("another container owns the database")
    _remove(database)
    for state in states(copies):
        if _rebuild(shelf, state, database):
            return state[0].generation
    if copies:
        raise Unavailable("no copy of the database is sound: it must be looked at by hand")
    return None


def _rebuild(shelf: BlobStore, state: list[Copy], database: Path) -> bool:
    contents = _whole(shelf, state)
    generation = state[0].generation
    if len(contents) < len(state):
        log.error("a copy is not whole", generation=generation.prefix, file=len(contents))
    if not contents:
        return False
    database.parent.mkdir(parents=True, exist_ok=True)
    database.write_bytes(contents[0])
    log_of(database).write_bytes(b"".join(contents[1:]))
    if not _sound(database):
        log.error("a copy is not sound", generation=generation.prefix)
        _remove(database)
        return False
    log.info("database restored", generation=generation.prefix, tails=len(contents) - 1)
    return True


def _whole(shelf: BlobStore, state: Sequence[Copy]) -> list[bytes]:
    """The contents, up to the first that is not what was put."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        contents = list(pool.map(shelf.get, (copy.name for copy in state)))
    pairs = zip(state, contents, strict=True)
    return [
        content
        for _, content in takewhile(
            lambda pair: pair[1] is not None and digest(pair[1]) == pair[0].digest, pairs
        )
        if content is not None
    ]


def _sound(database: Path) -> bool:
    """SQLite takes the log in, as after a power cut, and finds nothing wrong."""
    try:
        with closing(sqlite3.connect(database)) as connection:
            found = connection.execute("PRAGMA quick_check").fetchone()
            return bool(found == ("ok",))
    except sqlite3.DatabaseError:
        return False


def _remove(database: Path) -> None:
    for ending in ("", "-wal", "-shm"):
        database.with_name(database.name + ending).unlink(missing_ok=True)
