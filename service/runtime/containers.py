"""What is known of the containers behind the service, without waiting for whoever counts them."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock, Thread

from service.domain.call import Pool
from service.domain.errors import Unavailable
from service.domain.ports import Dispatcher
from service.log import Log

log = Log(__name__)

_FRESH = timedelta(seconds=10)


@dataclass
class ContainerPools:
    """Answers what was counted last, at once, and has it counted anew when that is old."""

    dispatcher: Dispatcher
    models: tuple[str, ...]
    _known: dict[str, Pool] = field(default_factory=dict)
    _away: bool = False
    _asked_at: datetime | None = None
    _asking: Lock = field(default_factory=Lock)

    def known(self, now: datetime) -> dict[str, Pool]:
        """The pool of each model of which one is known."""
        if self._old(now) and self._asking.acquire(blocking=False):
            self._asked_at = now
            Thread(target=self._ask, name="pools", daemon=True).start()
        return self._known

    @property
    def away(self) -> bool:
        """Whether the last count failed: then no call could be started either."""
        return self._away

    def _old(self, now: datetime) -> bool:
        return self._asked_at is None or not timedelta(0) <= now - self._asked_at < _FRESH

    def _ask(self) -> None:
        try:
            self._known = {model: self.dispatcher.pool(model) for model in self.models}
            self._away = False
        except Unavailable as error:
            log.warning("containers could not be counted", error=error)
            self._away = True
        finally:
            self._asking.release()
