"""Read SQLite's write-ahead log up to its last commit. https://sqlite.org/walformat.html"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_HEADER = struct.Struct(">8xI4x8s8x")  # page size, salts
_FRAME = struct.Struct(">4xI8s8x")  # pages after a commit, or 0; salts


@dataclass(frozen=True)
class Position:
    """An offset in a WAL at which a transaction ends; another salt means another WAL."""

    end: int = 0
    salt: bytes = b""


class LogReplaced(Exception):
    """The WAL began anew since the position was read."""


def wal_path(database: Path) -> Path:
    return database.with_name(f"{database.name}-wal")


def read_since(database: Path, position: Position) -> tuple[bytes, Position]:
    """Return the WAL's bytes committed after `position`, and the position of their end.

    Nothing may write meanwhile. Raises LogReplaced if the WAL began anew.
    """
    try:
        with wal_path(database).open("rb") as file:
            end = _last_commit(file, position)
            file.seek(position.end)
            return file.read(end.end - position.end), end
    except FileNotFoundError:
        if position.end:
            raise LogReplaced from None
        return b"", position


def _last_commit(file: BinaryIO, position: Position) -> Position:
    """Find the end of the last commit; frames of a rolled back transaction may follow it."""
    start = file.read(_HEADER.size)
    if len(start) < _HEADER.size:
        if position.end:
            raise LogReplaced
        return position
    page_bytes, salt = _HEADER.unpack(start)
    if position.end and salt != position.salt:
        raise LogReplaced
    offset = max(position.end, _HEADER.size)
    last = position.end
    while True:
        file.seek(offset)
        frame = file.read(_FRAME.size)
        if len(frame) < _FRAME.size or (header := _FRAME.unpack(frame))[1] != salt:
            return Position(last, salt)
        offset += _FRAME.size + page_bytes
        if header[0]:
            last = offset
