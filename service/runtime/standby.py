"""Serves while this container owns the database, and waits while another does."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from threading import Event, Thread, Timer

from service.domain.errors import Unavailable
from service.log import Log
from service.offsite.shipping import Shipping
from service.offsite.tenure import Tenure

log = Log(__name__)

_LOOK_SECONDS = 0.2
_MAX_PAUSE_SECONDS = 30.0
_MAX_TAKE_SECONDS = 600.0
_MAX_END_SECONDS = 60.0


class Standby:
    """A thread that takes the database when it is free, serves until the ownership is lost or the
    service stops, and then begins anew. Each failure to serve doubles the pause before the next
    try, for each try is an epoch.

    Where the network hangs without end, so that it can neither begin nor stop, the process ends
    itself by `give_up`: another can begin, and what was answered is offsite.
    """

    def __init__(
        self,
        take: Callable[[], Tenure | None],
        serve: Callable[[Shipping], AbstractContextManager[None]],
        *,
        pause_seconds: float = 1.0,
        end_seconds: float = _MAX_END_SECONDS,
        give_up: Callable[[], None] = lambda: os._exit(70),
    ) -> None:
        self._take = take
        self._serve = serve
        self._pause_seconds = pause_seconds
        self._end_seconds = end_seconds
        self._give_up = give_up
        self._stop = Event()
        self._thread = Thread(target=self._run, name="standby", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        pause = self._pause_seconds
        while not self._stop.is_set():
            pause = self._pause_seconds if self._try() else min(2 * pause, _MAX_PAUSE_SECONDS)
            self._stop.wait(pause)

    def _try(self) -> bool:
        """Whether nothing went wrong: it served, or another does."""
        try:
            with self._within(_MAX_TAKE_SECONDS):
                tenure = self._take()
            if tenure is not None:
                self._serve_out(tenure)
            return True
        except Unavailable as error:
            log.warning("database cannot be served yet", error=error)
        except Exception as fault:  # noqa: BLE001
            log.error("database could not be served", fault)
        return False

    def _serve_out(self, tenure: Tenure) -> None:
        with ExitStack() as ending:
            ending.callback(tenure.end)
            ending.enter_context(self._serve(tenure.shipping))
            while tenure.held and not self._stop.wait(_LOOK_SECONDS):
                pass
            with self._within(self._end_seconds):
                ending.close()

    @contextmanager
    def _within(self, seconds: float) -> Iterator[None]:
        timer = Timer(seconds, self._give_up)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
