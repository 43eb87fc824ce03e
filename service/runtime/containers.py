"""Cache the container pools of a dispatcher, so that no request waits for a count, and keep as many
containers warm as admins want."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock, Thread

from service.domain.call import Dispatcher, Pool
from service.domain.errors import Unavailable

log = logging.getLogger(__name__)

_FRESH = timedelta(seconds=10)


@dataclass
class ContainerPools:
    """Return the last count at once, and refresh it in a thread when it is stale.

    `warm` returns how many containers of a model are to be kept warm. A deploy resets them to the
    settings, so that they are compared at each refresh.
    """

    dispatcher: Dispatcher
    models: tuple[str, ...]
    warm: Callable[[], dict[str, int]]
    _pools: dict[str, Pool] = field(default_factory=dict)
    _is_unreachable: bool = False
    _refreshed_at: datetime | None = None
    _refreshing: Lock = field(default_factory=Lock)

    def current(self, now: datetime) -> dict[str, Pool]:
        """Return the pool of each model that was counted; empty before the first count."""
        if self._is_stale(now) and self._refreshing.acquire(blocking=False):
            self._refreshed_at = now
            Thread(target=self._refresh, name="pools", daemon=True).start()
        return self._pools

    @property
    def is_unreachable(self) -> bool:
        """Tell whether the last count failed: then no call could be started either."""
        return self._is_unreachable

    def _is_stale(self, now: datetime) -> bool:
        return self._refreshed_at is None or not timedelta(0) <= now - self._refreshed_at < _FRESH

    def _refresh(self) -> None:
        try:
            self._pools = {model: self.dispatcher.pool(model) for model in self.models}
            self._is_unreachable = False
        except Unavailable as error:
            log.warning("containers could not be counted", extra={"error": error})
            self._is_unreachable = True
        else:
            self._keep_warm()
        finally:
            self._refreshing.release()

    def _keep_warm(self) -> None:
        try:
            for model, number in self.warm().items():
                if self.dispatcher.kept_warm(model) != number:
                    self.dispatcher.keep_warm(model, number)
                    log.warning(
                        "containers kept warm again", extra={"model": model, "containers": number}
                    )
        except Unavailable as error:
            log.warning("containers may not be kept warm", extra={"error": error})
