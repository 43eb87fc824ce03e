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


class Standby:
    """A thread that takes the database when it is free, serves until the ownership is lost or the
    service stops, and then begins anew."""

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
        while not self._stop.is_set():
            try:
                self._try()
            except Unavailable as error:
                log.warning("database is not ours yet", error=error)
            except Exception as fault:  # noqa: BLE001
                log.error("database could not be served", fault)
            self._stop.wait(self._pause_seconds)

    def _try(self) -> None:
        tenure = self._take()
        if tenure is None:
            return
        try:
            with self._serve(tenure.shipping):
                while tenure.held and not self._stop.wait(_LOOK_SECONDS):
                    pass
        finally:
            tenure.end()
