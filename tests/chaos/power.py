"""A disk whose power goes: files in memory that know which of their bytes were synced.

Simpler than a real disk in one thing: that a file was made, or removed, is never forgotten.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

_SECTOR = 512  # what a disk writes whole or not at all
_Write = tuple[int, bytes | None]  # bytes at an offset; None cuts the file off there


class PowerLoss(Exception):
    """What every operation meets from the moment the power is gone."""


@dataclass
class File:
    synced: bytearray = field(default_factory=bytearray)
    now: bytearray = field(default_factory=bytearray)
    pending: list[_Write] = field(default_factory=list)
    syncs: int = 0

    def write(self, write: _Write) -> None:
        _apply(self.now, write)
        self.pending.append(write)

    def sync(self) -> None:
        for write in self.pending:
            _apply(self.synced, write)
        self.pending.clear()
        self.syncs += 1


@dataclass
class Disk:
    """Loses its power at the operation number `dies_at`, counting writes, cuts and syncs.

    `torn`: of what was written and not synced, any sectors may have reached the disk; else none.
    """

    chance: random.Random
    dies_at: int
    torn: bool
    files: dict[str, File] = field(default_factory=dict)
    operations: int = 0

    def put(self, name: str, content: bytes) -> None:
        self.files[name] = File(bytearray(content), bytearray(content))

    def change(self) -> None:
        """Called before each operation that the loss of power may prevent."""
        self.operations += 1
        if self.operations >= self.dies_at:
            raise PowerLoss

    def survivors(self) -> dict[str, bytes]:
        """What is found when the power is back."""
        luck = self.chance.random() if self.torn else 0.0
        for file in self.files.values():
            for part in (part for write in file.pending for part in _sectors(write)):
                if self.chance.random() < luck:
                    _apply(file.synced, part)
        return {name: bytes(file.synced) for name, file in self.files.items()}


def _apply(content: bytearray, write: _Write) -> None:
    offset, data = write
    if data is None:
        del content[offset:]
        return
    content.extend(bytes(max(0, offset - len(content))))
    content[offset : offset + len(data)] = data


def _sectors(write: _Write) -> Iterator[_Write]:
    """The write in pieces that end where the disk's sectors do."""
    offset, data = write
    if data is None:
        yield write
        return
    end = offset + len(data)
    while offset < end:
        stop = min(end, (offset // _SECTOR + 1) * _SECTOR)
        yield offset, data[len(data) - (end - offset) : len(data) - (end - stop)]
        offset = stop
