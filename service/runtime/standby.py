"""Serve while this container owns the database; stand by while another does."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from threading import Event, Thread, Timer

from service.domain.errors import Unavailable
from service.offsite.shipping import Shipping, Tenure

log = logging.getLogger(__name__)

_CHECK_SECONDS = 0.2
_PAUSE_SECONDS, _MAX_PAUSE_SECONDS = 1.0, 30.0
_MAX_ACQUIRE_SECONDS = 600.0
_MAX_END_SECONDS = 60.0


class Standby:
    """A thread that acquires the database when it is free, serves until its tenure is lost or the
    service stops, and begins again. Failures double the pause, since each try is a new epoch.

    Where acquiring or stopping hangs, `abort` ends the process so that another can take over:
    acknowledged writes are offsite already.
    """

    def __init__(
        self,
        acquire: Callable[[], Tenure | None],
        serve: Callable[[Shipping], AbstractContextManager[None]],
        *,
        max_end_seconds: float = _MAX_END_SECONDS,
        abort: Callable[[], None] = lambda: os._exit(70),
    ) -> None:
        self._acquire = acquire
        self._serve = serve
        self._max_end_seconds = max_end_seconds
        self._abort = abort
        self._stop = Event()
        self._thread = Thread(target=self._run, name="standby", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        pause = _PAUSE_SECONDS
        while not self._stop.is_set():
            pause = _PAUSE_SECONDS if self._try() else min(2 * pause, _MAX_PAUSE_SECONDS)
            self._stop.wait(pause)

    def _try(self) -> bool:
        """Acquire and serve once; return False after an error."""
        try:
            with self._watchdog(_MAX_ACQUIRE_SECONDS):
                tenure = self._acquire()
            if tenure is not None:
                self._serve_until_lost(tenure)
            return True
        except Unavailable as error:
            log.warning("database cannot be served yet", extra={"error": error})
        except Exception as error:
            log.error("database could not be served", exc_info=error)
        return False

    def _serve_until_lost(self, tenure: Tenure) -> None:
        with ExitStack() as stack:
            stack.callback(tenure.end)
            stack.enter_context(self._serve(tenure.shipping))
            while tenure.is_owner and not self._stop.wait(_CHECK_SECONDS):
                pass
            with self._watchdog(self._max_end_seconds):
                stack.close()

    @contextmanager
    def _watchdog(self, seconds: float) -> Iterator[None]:
        timer = Timer(seconds, self._abort)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
