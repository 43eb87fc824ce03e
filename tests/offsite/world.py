"""Containers with a database that lasts in a blob store, in this process."""

from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import sqlalchemy as sa

from service.domain.ids import KeyId
from service.domain.job import Idempotency
from service.domain.limits import Limits
from service.lifecycle.submit import Accepted
from service.offsite.shipping import Replica, Tenure
from service.store.database import Database
from tests import make
from tests.make import submit
from tests.offsite.doubles import FolderBlobs, FolderEntries, Watched

LASTS = timedelta(seconds=60)


@dataclass
class Node:
    """A container that owned the database once."""

    tenure: Tenure
    db: Database
    told: list[str]

    def submit(self, key_id: KeyId, name: str) -> str:
        """The id of the job that this Idempotency-Key made; durable when it returns."""
        return self.begin_submit(key_id, name).result(30).job.id

    def begin_submit(self, key_id: KeyId, name: str) -> Future[Accepted]:
        fingerprint = sha256(name.encode()).digest()
        asked = make.submission(key_id, idempotency=Idempotency(name, fingerprint))
        return self.db.write(lambda tx: submit(tx, asked, Limits(), make.START))

    def jobs(self) -> set[str]:
        return set(self.db.read(lambda tx: tx.execute(sa.text("SELECT id FROM jobs")).scalars()))

    def leave(self) -> None:
        """In good order."""
        self.db.close()
        self.tenure.end()


@dataclass
class World:
    """What all containers share, and a disk for each."""

    root: Path
    migrated: Path
    clock: make.FakeClock = field(default_factory=make.FakeClock)

    def __post_init__(self) -> None:
        self.blobs = Watched(FolderBlobs(self.root / "blobs"))
        self.entries = FolderEntries(self.root / "entries")
        self.nodes: list[Node] = []

    def home(self, name: str) -> Replica:
        path = self.root / name / "offsite.db"
        return Replica(self.blobs, self.entries, path, LASTS)

    def take(self, name: str, clock: make.FakeClock | None = None) -> Node | None:
        """None while another owns the database. A `clock` of its own may be wrong."""
        home = self.home(name)
        tenure = home.take(name, clock or self.clock)
        if tenure is None:
            return None
        try:
            if not home.database.exists():
                home.database.parent.mkdir(parents=True, exist_ok=True)
                home.database.write_bytes(self.migrated.read_bytes())
            told: list[str] = []
            db = Database(f"sqlite:///{home.database}", told.extend, tenure.shipping)
        except BaseException:
            tenure.end()
            raise
        self.nodes.append(node := Node(tenure, db, told))
        return node

    def must_take(self, name: str, clock: make.FakeClock | None = None) -> Node:
        node = self.take(name, clock)
        assert node is not None
        return node

    def later(self) -> make.FakeClock:
        """A clock by which whoever says nothing now owns nothing any more."""
        return make.FakeClock(self.clock.now + 3 * LASTS)

    def close(self) -> None:
        self.blobs.calm()
        for node in self.nodes:
            node.leave()
