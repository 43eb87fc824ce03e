"""Calls that nobody waits for any more: canceled, and canceled again until they have ended."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock

from service.domain.errors import Unavailable
from service.domain.ports import Dispatcher
from service.log import Log
from service.store import attempts
from service.store.database import Database

log = Log(__name__)

# After a restart, calls of attempts that were given up since then are looked at once more.
_LOOK_BACK = timedelta(days=1)


@dataclass
class Cancellations:
    """A cancel can be lost on its way, and a GPU is paid for until it arrives. Kept in memory; the
    first look after a start finds in the database what another process may have left."""

    db: Database
    dispatcher: Dispatcher
    pause: timedelta  # until a cancel that may not have reached its call is said again
    _due: dict[str, datetime] = field(default_factory=dict)  # call -> when it is asked again
    _lock: Lock = field(default_factory=Lock)
    _looked_back: bool = False

    def stop(self, call_id: str, now: datetime) -> None:
        """Cancel it now, and see to it that it ends."""
        self._look_again(call_id, now + self.pause)
        self.dispatcher.cancel(call_id)

    def repeat_cancels(self, now: datetime) -> int:
        """Cancel anew what should have ended and has not; answers how many calls are left."""
        self._look_back(now)
        with self._lock:
            # No pause is longer: what seems so is of before the clock was set back.
            due = [call for call, at in self._due.items() if not now < at <= now + self.pause]
        for call_id in due:
            self._repeat_cancels(call_id, now)
        return len(self._due)

    def _repeat_cancels(self, call_id: str, now: datetime) -> None:
        try:
            ended = self.dispatcher.look(call_id) != "alive"
        except Unavailable:
            ended = False
        if ended:
            with self._lock:
                del self._due[call_id]
            return
        log.warning("call has not ended; it is canceled again", call=call_id)
        self.stop(call_id, now)

    def _look_back(self, now: datetime) -> None:
        if self._looked_back:
            return
        for call_id in self.db.read(lambda tx: attempts.given_up(tx, now - _LOOK_BACK)):
            self._look_again(call_id, now)
        self._looked_back = True

    def _look_again(self, call_id: str, at: datetime) -> None:
        with self._lock:
            self._due[call_id] = at
