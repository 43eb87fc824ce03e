"""Speaks the texts of queued jobs beside the API, several at a time."""

import logging
import time
from collections import Counter
from threading import Condition, Event, Thread

from service.domain.errors import Unavailable
from service.domain.ids import KeyId
from service.lifecycle.speech import SpeechMaker
from service.store.speeches import Due

log = logging.getLogger(__name__)

# Of the texts that a provider speaks, and of those of this machine: one that hangs stops no other.
_MAX_AT_ONCE = 4
# By whether a provider speaks, so that another key's text is never behind all of one key. The
# voices of this machine have two processes (service/programs.py).
_MAX_PER_KEY = {True: 2, False: 1}
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
        self._busy: dict[str, tuple[KeyId, bool]] = {}  # by job; True: a provider speaks
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
                for by_provider in (False, True):
                    self._start_due(by_provider)
            except Unavailable:  # already logged
                time.sleep(_POLL_SECONDS)
            except Exception as fault:
                log.error("due texts could not be read; retrying", exc_info=fault)
                time.sleep(_POLL_SECONDS)

    def _start_due(self, by_provider: bool) -> None:
        while not self._is_stopping:
            counts = self._counts(by_provider)
            num_free = _MAX_AT_ONCE - counts.total()
            full = [key for key, count in counts.items() if count >= _MAX_PER_KEY[by_provider]]
            if num_free <= 0:
                return
            # A text that was started just now may be listed once more; none is taken twice.
            size = num_free + counts.total()
            due = self._maker.due(full, size, by_provider=by_provider)
            num_started = sum(self._start(each, by_provider) for each in due)
            if not num_started:
                return

    def _counts(self, by_provider: bool) -> Counter[KeyId]:
        with self._state:
            return Counter(key for key, provider in self._busy.values() if provider is by_provider)

    def _start(self, due: Due, by_provider: bool) -> bool:
        with self._state:
            counts = self._counts(by_provider)
            max_of_key = _MAX_PER_KEY[by_provider]
            is_full = counts.total() >= _MAX_AT_ONCE or counts[due.key_id] >= max_of_key
            if is_full or due.id in self._busy:
                return False
            self._busy[due.id] = due.key_id, by_provider
        # No thread pool: Python waits for a pool's threads at exit.
        Thread(target=self._speak, args=(due,), name="speech", daemon=True).start()
        return True

    def _speak(self, due: Due) -> None:
        try:
            self._maker.speak(due.id)
        except Exception as fault:
            is_outage = isinstance(fault, Unavailable)
            log.error(
                "text could not be spoken",
                exc_info=None if is_outage else fault,
                extra={"job": due.id},
            )
            time.sleep(_POLL_SECONDS)
        finally:
            with self._state:
                del self._busy[due.id]
                self._state.notify_all()
            self._wakeup.set()
