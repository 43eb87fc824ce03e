"""One epoch of one container: from the ownership taken and the database restored to its release."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread

from service.domain.errors import Unavailable
from service.domain.ports import Clock
from service.log import Log
from service.offsite.generations import newest_epoch, read_names
from service.offsite.ownership import Ownership
from service.offsite.ports import BlobStore, KeyValue
from service.offsite.restore import restore
from service.offsite.shipping import Shipping

log = Log(__name__)


@dataclass(frozen=True)
class Replica:
    """Where a database is kept, and for how long an owner may be silent."""

    shelf: BlobStore
    register: KeyValue
    database: Path
    lasts: timedelta

    def take(self, holder: str, clock: Clock) -> "Tenure | None":
        """Own the database, which then lies restored at its path; None while another owns it.
        Raises Unavailable."""
        known = newest_epoch(read_names(self.shelf.names()))
        ownership = Ownership(self.register, holder, clock, self.lasts)
        if not ownership.take(known):
            return None
        tenure = Tenure(ownership)
        try:
            restored = restore(self.shelf, self.database, ownership.epoch)
        except BaseException:
            tenure.end()
            raise
        tenure.shipping = Shipping(self.shelf, ownership, self.database, restored)
        return tenure


class Tenure:
    """Renews the ownership until it ends."""

    shipping: Shipping

    def __init__(self, ownership: Ownership) -> None:
        self._ownership = ownership
        self._over = Event()
        self._thread = Thread(target=self._renew, name="owner", daemon=True)
        self._thread.start()

    @property
    def held(self) -> bool:
        return self._ownership.held

    def end(self) -> None:
        """Call it once nothing more is written."""
        self._over.set()
        self._thread.join()
        try:
            self._ownership.release()
        except Unavailable as error:
            log.warning("database could not be released; its time runs out", error=error)

    def _renew(self) -> None:
        while not self._over.wait(self._ownership.pause_seconds):
            try:
                self._ownership.renew()
            except Unavailable as error:
                log.warning("ownership could not be renewed", error=error)
