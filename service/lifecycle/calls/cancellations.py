"""Calls to cancel: each is canceled again until it has ended."""

import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock

from service.domain.call import Dispatcher
from service.domain.errors import Unavailable
from service.store import attempts
from service.store.database import Database

log = logging.getLogger(__name__)

# After a restart, calls of attempts that the service ended since then are polled once more.
_LOOK_BACK = timedelta(days=1)


@dataclass
class Cancellations:
    """Repeats cancels, since one can be lost and the GPU is paid for until it arrives. Kept in
    memory; after a start, the calls that another process may have left come from the database."""

    db: Database
    dispatcher: Dispatcher
    pause: timedelta  # until a cancel that may not have reached its call is repeated
    _due: dict[str, datetime] = field(default_factory=dict)  # call -> when it is polled next
    _lock: Lock = field(default_factory=Lock)
    _is_recovered: bool = False

    def stop(self, call_id: str, now: datetime) -> None:
        """Cancel a call, and repeat it until the call has ended."""
        self._schedule(call_id, now + self.pause)
        self.dispatcher.cancel(call_id)

    def repeat_cancels(self, now: datetime) -> int:
        """Cancel again the calls that have not ended; return how many are left."""
        self._recover(now)
        with self._lock:
            # A longer pause dates from before the clock was set back.
            due = [call for call, at in self._due.items() if not now < at <= now + self.pause]
        for call_id in due:
            self._repeat_cancel(call_id, now)
        return len(self._due)

    def _repeat_cancel(self, call_id: str, now: datetime) -> None:
        try:
            has_ended = self.dispatcher.status(call_id) != "alive"
        except Unavailable:
            has_ended = False
        if has_ended:
            with self._lock:
                del self._due[call_id]
            return
        log.warning("call has not ended; it is canceled again", extra={"call": call_id})
        self.stop(call_id, now)

    def _recover(self, now: datetime) -> None:
        if self._is_recovered:
            return
        for call_id in self.db.read(lambda tx: attempts.abandoned_calls(tx, now - _LOOK_BACK)):
            self._schedule(call_id, now)
        self._is_recovered = True

    def _schedule(self, call_id: str, at: datetime) -> None:
        with self._lock:
            self._due[call_id] = at
