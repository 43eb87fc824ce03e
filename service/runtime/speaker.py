"""Speaks the texts of queued jobs beside the API, several at a time."""

import time
from collections import Counter
from threading import Condition, Event, Thread

from service.domain.errors import Unavailable
from service.domain.ids import KeyId
from service.lifecycle.speech import SpeechMaker
from service.log import Log
from service.store.speeches import Due

log = Log(__name__)

_MAX_AT_ONCE = 4
_MAX_PER_KEY = 2  # so that another key's text is never behind all of one key
_POLL_SECONDS = 1.0  # a text becomes due again without an event
_STOP_SECONDS = 15.0  # for texts that are being spoken; the API has 25 s in all to end


class Speaker:
    """A thread that polls for due texts, and a thread for each that is being spoken.

    Several processes on one database may run one: each text is taken by one of them at a time.
    """

    def __init__(self, maker: SpeechMaker, wakeup: Event) -> None:
        """`wakeup` is set when there may be a new text."""
        self._maker = maker
        self._wakeup = wakeup
        self._is_stopping = False
        self._state = Condition()
        self._busy: dict[str, KeyId] = {}  # by job
        self._thread = Thread(target=self._run, name="speaker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Begin no more texts, and let those that are being spoken end within 15 s. One that does
        not is left: if the process ends before it is stored, it is spoken and paid for again."""
        self._is_stopping = True
        self._wakeup.set()
        self._thread.join()
        with self._state:
            self._state.wait_for(lambda: not self._busy, _STOP_SECONDS)

    def _run(self) -> None:
        while not self._is_stopping:
            self._wakeup.wait(_POLL_SECONDS)
            self._wakeup.clear()
            try:
                self._start_due()
            except Unavailable:  # already logged
                time.sleep(_POLL_SECONDS)
            except Exception as fault:  # noqa: BLE001
                log.error("due texts could not be read; retrying", fault)
                time.sleep(_POLL_SECONDS)

    def _start_due(self) -> None:
        while not self._is_stopping:
            with self._state:
                num_free = _MAX_AT_ONCE - len(self._busy)
                counts = Counter(self._busy.values())
            full = [key for key, count in counts.items() if count >= _MAX_PER_KEY]
            if num_free <= 0:
                return
            # A text that was started just now may be listed once more; none is taken twice.
            due = self._maker.due(full, size=num_free + counts.total())
            num_started = sum(map(self._start, due))
            if not num_started:
                return

    def _start(self, due: Due) -> bool:
        with self._state:
            per_key = sum(key == due.key_id for key in self._busy.values())
            is_full = len(self._busy) >= _MAX_AT_ONCE or per_key >= _MAX_PER_KEY
            if is_full or due.id in self._busy:
                return False
            self._busy[due.id] = due.key_id
        # No thread pool: Python waits for a pool's threads at exit.
        Thread(target=self._speak, args=(due,), name="speech", daemon=True).start()
        return True

    def _speak(self, due: Due) -> None:
        try:
            self._maker.speak(due.id)
        except Exception as fault:  # noqa: BLE001
            is_outage = isinstance(fault, Unavailable)
            log.error("text could not be spoken", None if is_outage else fault, job=due.id)
            time.sleep(_POLL_SECONDS)
        finally:
            with self._state:
                del self._busy[due.id]
                self._state.notify_all()
            self._wakeup.set()
