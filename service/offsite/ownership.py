"""Which container owns the database: one at a time, in epochs that are numbered.

Each epoch is an entry of its own in a register that all containers share, and is created by one of
them alone. Two things keep two owners apart:

- *Time.* An owner that has not renewed its entry stops answering when its time is over; another may
  begin only a margin later, for clocks differ.
- *Order.* What is answered for is first put offsite, then the register is asked for the next
  epoch, and only where there is none the answer is given. Whoever begins an epoch creates its entry
  first and looks at what is offsite after that. So, whatever the clocks say, it sees all that was
  answered for, and a late owner can answer for nothing more.
"""

import time
from collections.abc import Callable
from datetime import timedelta
from threading import Lock

from service.domain.errors import Unavailable
from service.domain.ports import Clock
from service.log import Log
from service.offsite.ports import Entry, KeyValue

log = Log(__name__)

RENEWALS = 3  # chances to renew before the time is over


class Ownership:
    """One container's part in it; good for one epoch. `steady` is a clock that nobody sets."""

    def __init__(
        self,
        register: KeyValue,
        holder: str,
        clock: Clock,
        lasts: timedelta,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._register = register
        self._holder = holder
        self._clock = clock
        self._steady = steady
        self._lasts = lasts
        self._margin = lasts / 3
        self._until = (0.0, 0.0)  # by the steady clock, and by the one on the wall
        self._lost = True
        self._lock = Lock()
        self.epoch = 0

    @property
    def held(self) -> bool:
        """Also the clock on the wall must agree: the steady one may stand still while a machine is
        put to sleep."""
        steady, wall = self._until
        return not self._lost and self._steady() < steady and self._wall() < wall

    @property
    def pause_seconds(self) -> float:
        """How often it is to be renewed."""
        return self._lasts.total_seconds() / RENEWALS

    def take(self, known: int) -> bool:
        """Begin a new epoch, later than `known`; False while another holds the present one."""
        newest, entry = known, self._register.read(_name(known))
        while (later := self._register.read(_name(newest + 1))) is not None:
            newest, entry = newest + 1, later
        if entry is not None and self._wall() <= entry["until"] + self._margin.total_seconds():
            return False
        until = self._fresh()
        if not self._register.create(_name(newest + 1), self._entry(until)):
            return False
        self.epoch, self._until, self._lost = newest + 1, until, False
        log.info("database owned", epoch=self.epoch, holder=self._holder)
        return True

    def renew(self) -> None:
        """Own it for longer. What has run out is not renewed: another may have taken it."""
        with self._lock:
            if not self.held:
                self._lose("its time is over")
                return
            until = self._fresh()
            if self._followed():
                return
            self._register.write(_name(self.epoch), self._entry(until))
            if self.held:  # it may have run out while the register took its time
                self._until = until

    def confirm(self) -> None:
        """Raise Unavailable unless what was put offsite before this call may be answered for."""
        if self._lost or self._followed():
            raise Unavailable("another container owns the database")

    def release(self) -> None:
        """Nobody need wait for our time to pass."""
        with self._lock:
            if not self._lost:
                self._lost = True
                self._register.write(_name(self.epoch), self._entry((0.0, 0.0)))
                log.info("database released", epoch=self.epoch)

    def _followed(self) -> bool:
        if self._register.read(_name(self.epoch + 1)) is None:
            return False
        self._lose("another took it")
        return True

    def _lose(self, why: str) -> None:
        if not self._lost:
            log.warning("database no longer owned", epoch=self.epoch, reason=why)
        self._lost = True

    def _fresh(self) -> tuple[float, float]:
        """Counted from before the register is asked, which may take long."""
        seconds = self._lasts.total_seconds()
        return self._steady() + seconds, self._wall() + seconds

    def _wall(self) -> float:
        return self._clock().timestamp()

    def _entry(self, until: tuple[float, float]) -> Entry:
        return {"holder": self._holder, "until": until[1]}


def _name(epoch: int) -> str:
    return f"epoch-{epoch:08d}"
