"""Who is before whom in the queue, without counting rows for every poll."""

import time
from bisect import bisect_left

from service.domain.job import Job
from service.store import jobs
from service.store.database import Database

# A look costs in proportion to the queue; at most this share of the time is spent on looking, so
# a short queue is seen as it is and one of ten thousand as it was some tenths of a second ago.
_SHARE = 1 / 20


class Line:
    """The queue as it was at the last look."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._places: list[jobs.Place] = []
        self._good_until = 0.0

    def position(self, job: Job) -> int:
        """How many jobs will be claimed before this queued one."""
        now = time.perf_counter()
        if now >= self._good_until:
            self._places = self._db.read(jobs.line)
            done = time.perf_counter()
            self._good_until = done + (done - now) / _SHARE
        return bisect_left(self._places, jobs.place(job))
