"""Names of replicated files, and which of them form a consistent state of the database.

A base is the whole file; the tails after it are the parts of SQLite's WAL since then, in order. A
base with its first tails is what a power cut at that moment would have left on disk, and SQLite
recovers it as after any power cut.

    00000003-000002/000000-<digest>.db      epoch 3, its second base
    00000003-000002/000001-<digest>.wal     the first tail after it

Every owner writes under its own epoch, so that a late one replaces nothing. The digest detects an
incomplete file.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from itertools import takewhile

_NAME = re.compile(r"(\d{8})-(\d{6})/(\d{6})-([0-9a-f]{32})\.(db|wal)")


@dataclass(frozen=True, order=True)
class Generation:
    """One base and its tails. Later generations compare greater."""

    epoch: int
    base: int

    @property
    def prefix(self) -> str:
        return f"{self.epoch:08d}-{self.base:06d}"


@dataclass(frozen=True, order=True)
class Copy:
    """One file of a generation; tail 0 is its base."""

    generation: Generation
    tail: int
    digest: str

    @classmethod
    def of(cls, generation: Generation, tail: int, content: bytes) -> "Copy":
        return cls(generation, tail, digest(content))

    @property
    def name(self) -> str:
        ending = "wal" if self.tail else "db"
        return f"{self.generation.prefix}/{self.tail:06d}-{self.digest}.{ending}"


def digest(content: bytes) -> str:
    return sha256(content).hexdigest()[:32]


def read_name(name: str) -> Copy | None:
    """Parse a file name; None for any other file, such as a partial one."""
    match = _NAME.fullmatch(name)
    if match is None or (match[3] == "000000") != (match[5] == "db"):
        return None
    return Copy(Generation(int(match[1]), int(match[2])), int(match[3]), match[4])


def read_names(names: Iterable[str]) -> list[Copy]:
    return sorted(copy for name in names if (copy := read_name(name)) is not None)


def newest_epoch(copies: Iterable[Copy]) -> int:
    return max((copy.generation.epoch for copy in copies), default=0)


def states(copies: list[Copy]) -> list[list[Copy]]:
    """Return each base with its tails up to the first gap, the latest generation first."""
    result = []
    for generation in sorted({copy.generation for copy in copies}, reverse=True):
        files = sorted(copy for copy in copies if copy.generation == generation)
        consecutive = takewhile(lambda pair: pair[0] == pair[1].tail, enumerate(files))
        if state := [copy for _, copy in consecutive]:
            result.append(state)
    return result
