"""Restore the newest intact state of a database from its offsite copies."""

import logging
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import takewhile
from pathlib import Path

from service.domain.errors import Unavailable
from service.offsite.generations import Copy, Generation, digest, newest_epoch, read_names, states
from service.offsite.ports import BlobStore
from service.offsite.wal import wal_path

log = logging.getLogger(__name__)

_THREADS = 8


def restore(blobs: BlobStore, database: Path, epoch: int) -> Generation | None:
    """Write the newest state before `epoch` to `database`, replacing it, and return its generation;
    None if there are no copies.

    Raises Unavailable if no copy is intact, since an empty start would discard them, and if
    `epoch` or a later one already has copies.
    """
    copies = read_names(blobs.names())
    if newest_epoch(copies) >= epoch:
        raise Unavailable("another container owns the database")
    _remove(database)
    for state in states(copies):
        if _rebuild(blobs, state, database):
            return state[0].generation
    if copies:
        raise Unavailable("no copy of the database is intact: it needs manual repair")
    return None


def _rebuild(blobs: BlobStore, state: list[Copy], database: Path) -> bool:
    contents = _intact_contents(blobs, state)
    generation = state[0].generation
    if len(contents) < len(state):
        log.error(
            "a copy is incomplete", extra={"generation": generation.prefix, "file": len(contents)}
        )
    if not contents:
        return False
    database.parent.mkdir(parents=True, exist_ok=True)
    database.write_bytes(contents[0])
    wal_path(database).write_bytes(b"".join(contents[1:]))
    if not _is_sound(database):
        log.error("a copy is corrupt", extra={"generation": generation.prefix})
        _remove(database)
        return False
    log.info(
        "database restored", extra={"generation": generation.prefix, "tails": len(contents) - 1}
    )
    return True


def _intact_contents(blobs: BlobStore, state: Sequence[Copy]) -> list[bytes]:
    """Fetch the contents, up to the first that is missing or has another digest."""
    with ThreadPoolExecutor(_THREADS) as pool:
        contents = list(pool.map(blobs.get, (copy.name for copy in state)))
    pairs = zip(state, contents, strict=True)
    return [
        content
        for _, content in takewhile(
            lambda pair: pair[1] is not None and digest(pair[1]) == pair[0].digest, pairs
        )
        if content is not None
    ]


def _is_sound(database: Path) -> bool:
    """Let SQLite recover the database from its WAL, and run its integrity check."""
    try:
        with closing(sqlite3.connect(database)) as connection:
            row = connection.execute("PRAGMA quick_check").fetchone()
            return bool(row == ("ok",))
    except sqlite3.DatabaseError:
        return False


def _remove(database: Path) -> None:
    for ending in ("", "-wal", "-shm"):
        database.with_name(database.name + ending).unlink(missing_ok=True)
