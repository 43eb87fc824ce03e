"""Serves while this container owns the database, and waits while another does."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from threading import Event, Thread

from service.domain.errors import Unavailable
from service.log import Log
from service.offsite.shipping import Shipping
from service.offsite.tenure import Tenure

log = Log(__name__)

_LOOK_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 30.0


class Standby:
    """A thread that takes the database when it is free, serves until the ownership is lost or the
    service stops, and then begins anew. Each failure to serve doubles the pause before the next
    try, for each try is an epoch."""

    def __init__(
        self,
        take: Callable[[], Tenure | None],
        serve: Callable[[Shipping], AbstractContextManager[None]],
        *,
        pause_seconds: float = 1.0,
    ) -> None:
        self._take = take
        self._serve = serve
        self._pause_seconds = pause_seconds
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
            pause = self._pause_seconds if self._try() else min(2 * pause, _LONGEST_PAUSE_SECONDS)
            self._stop.wait(pause)

    def _try(self) -> bool:
        """Whether nothing went wrong: it served, or another does."""
        try:
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
        try:
            with self._serve(tenure.shipping):
                while tenure.held and not self._stop.wait(_LOOK_SECONDS):
                    pass
        finally:
            tenure.end()
