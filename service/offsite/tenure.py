"""One epoch of one container: take the ownership, restore the database, renew, release."""

import logging
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread

from service.domain.clock import Clock
from service.domain.errors import Unavailable
from service.offsite.generations import newest_epoch, read_names
from service.offsite.ownership import Ownership
from service.offsite.ports import BlobStore, KeyValue
from service.offsite.restore import restore
from service.offsite.shipping import Shipping

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Replica:
    """The offsite storage of a database, and the length of an owner's lease."""

    blobs: BlobStore
    entries: KeyValue
    database: Path
    lease: timedelta

    def take(self, holder: str, clock: Clock) -> "Tenure | None":
        """Take the ownership and restore the database; None while another container owns it.
        Raises Unavailable."""
        epoch = newest_epoch(read_names(self.blobs.names()))
        ownership = Ownership(self.entries, holder, clock, self.lease)
        if not ownership.take(epoch):
            return None
        tenure = Tenure(ownership)
        try:
            generation = restore(self.blobs, self.database, ownership.epoch)
        except BaseException:
            tenure.end()
            raise
        tenure.shipping = Shipping(self.blobs, ownership, self.database, generation)
        return tenure


class Tenure:
    """Renews the ownership in a thread until `end`."""

    shipping: Shipping

    def __init__(self, ownership: Ownership) -> None:
        self._ownership = ownership
        self._ended = Event()
        self._thread = Thread(target=self._renew, name="owner", daemon=True)
        self._thread.start()

    @property
    def is_owner(self) -> bool:
        return self._ownership.is_owner

    def end(self) -> None:
        """Release the ownership; call it after the last write."""
        self._ended.set()
        self._thread.join()
        try:
            self._ownership.release()
        except Unavailable as error:
            log.warning(
                "ownership could not be released; its lease expires by itself",
                extra={"error": error},
            )

    def _renew(self) -> None:
        while not self._ended.wait(self._ownership.pause_seconds):
            try:
                self._ownership.renew()
            except Unavailable as error:
                log.warning("ownership could not be renewed", extra={"error": error})
