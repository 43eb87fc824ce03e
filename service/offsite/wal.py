"""SQLite's write-ahead log as bytes: where its last commit ends. https://sqlite.org/walformat.html"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_HEADER = struct.Struct(">8xI4x8s8x")  # page size, salts
_FRAME = struct.Struct(">4xI8s8x")  # pages after a commit, or 0; salts


@dataclass(frozen=True)
class Mark:
    """A place in a log, at which a transaction ends. Another salt is another log."""

    end: int = 0
    salt: bytes = b""


class LogReplaced(Exception):
    """The log is not the one in which the mark was made."""


def log_of(database: Path) -> Path:
    return database.with_name(f"{database.name}-wal")


def read_on(database: Path, mark: Mark) -> tuple[bytes, Mark]:
    """What was committed after `mark`, as the bytes of the log, and where that ends.

    Nobody may write meanwhile. Raises LogReplaced when the log began anew since.
    """
    try:
        with log_of(database).open("rb") as file:
            new = _last_commit(file, mark)
            file.seek(mark.end)
            return file.read(new.end - mark.end), new
    except FileNotFoundError:
        if mark.end:
            raise LogReplaced from None
        return b"", mark


def _last_commit(file: BinaryIO, mark: Mark) -> Mark:
    """What a transaction that was undone left behind lies after the last commit, or under it."""
    header = file.read(_HEADER.size)
    if len(header) < _HEADER.size:
        if mark.end:
            raise LogReplaced
        return mark
    page_bytes, salt = _HEADER.unpack(header)
    if mark.end and salt != mark.salt:
        raise LogReplaced
    place = max(mark.end, _HEADER.size)
    last = mark.end
    while True:
        file.seek(place)
        frame = file.read(_FRAME.size)
        if len(frame) < _FRAME.size or (told := _FRAME.unpack(frame))[1] != salt:
            return Mark(last, salt)
        place += _FRAME.size + page_bytes
        if told[0]:
            last = place
