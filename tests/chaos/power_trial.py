"""Our database loses its power at a random moment, and what it had acknowledged is looked for."""

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import apsw

from tests.chaos.power import Disk, PowerLoss
from tests.chaos.power_vfs import DiskVfs
from tests.chaos.recorded import Recorded, Submit

_NAME = "rushes.db"
_LARGEST_GROUP = 8
_MAX_LIVES = 3  # the power may go again, also while SQLite recovers from the last time
_LATEST_LOSS = 6000  # operations: enough for a checkpoint or two
_MEMORY = Path("/dev/shm")


@dataclass
class Trial:
    """One disk from its first power loss to its last, and what was found after each."""

    recorded: Recorded
    pragmas: str
    torn: bool
    seed: int
    power_losses: int = 0
    checkpoints: int = 0
    acknowledged: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    corrupt: int = 0  # what SQLite's own check finds, or a file that it cannot open
    halved: int = 0  # of what a submit writes together, only a part was there

    def run(self) -> "Trial":
        chance = random.Random(self.seed)
        waiting = iter(self.recorded.submits)
        files = {_NAME: self.recorded.image}
        for _ in range(chance.randint(1, _MAX_LIVES)):
            disk = Disk(chance, dies_at=chance.randint(1, _LATEST_LOSS), torn=self.torn)
            for name, content in files.items():
                disk.put(name, content)
            self._live(disk, waiting)
            files = disk.survivors()
            self._look(files)
            if self.corrupt:
                break
        return self

    def _live(self, disk: Disk, waiting: Iterator[Submit]) -> None:
        """Accept jobs in groups, as the writer thread does, until the power goes."""
        vfs = DiskVfs(f"power-{self.seed}-{self.power_losses}", disk)
        with suppress(PowerLoss), closing(apsw.Connection(_NAME, vfs=vfs.name)) as connection:
            # WAL wants memory shared by processes, which a VFS in Python cannot give; one process
            # alone may keep its index on the heap. What is written and synced stays the same.
            list(connection.execute("PRAGMA locking_mode = EXCLUSIVE"))
            list(connection.execute(self.pragmas))
            while group := list(islice(waiting, disk.chance.randint(1, _LARGEST_GROUP))):
                connection.execute("BEGIN IMMEDIATE")
                for sql, values in (said for submit in group for said in submit.statements):
                    list(connection.execute(sql, values))
                connection.execute("COMMIT")
                self.acknowledged |= {submit.job_id for submit in group}
            raise AssertionError("too few jobs were recorded for the disk to lose its power")
        self.power_losses += 1
        self.checkpoints += disk.files[_NAME].syncs

    def _look(self, files: dict[str, bytes]) -> None:
        """Open what survived with the SQLite that the service uses; that recovers it."""
        memory = _MEMORY if _MEMORY.exists() else None
        with TemporaryDirectory(prefix="power-", dir=memory) as folder:
            for name, content in files.items():
                (Path(folder) / name).write_bytes(content)
            try:
                with closing(sqlite3.connect(Path(folder) / _NAME)) as connection:
                    self._check(connection)
            except sqlite3.DatabaseError:
                self.corrupt += 1

    def _check(self, connection: sqlite3.Connection) -> None:
        def one(sql: str) -> object:
            return connection.execute(sql).fetchone()[0]

        if one("PRAGMA integrity_check") != "ok":
            raise sqlite3.DatabaseError
        self.lost |= self.acknowledged - {
            row[0] for row in connection.execute("SELECT id FROM jobs")
        }
        queued = one("SELECT count(*) FROM jobs WHERE state = 'queued'")
        self.halved += one("SELECT sum(queued) FROM keys") != queued
        self.halved += one("SELECT count(job_id) FROM idempotency") != queued
