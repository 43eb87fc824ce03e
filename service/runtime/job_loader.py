"""Polls that come at one moment are looked up by one query: where the database is across a network,
a query costs more than the job that it finds."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeAlias

from service.domain.ids import JobId
from service.domain.job import Job

Read: TypeAlias = Callable[[Sequence[JobId]], Awaitable[Mapping[JobId, Job]]]

_MAX_AT_ONCE = 100


class JobLoader:
    """Whoever comes while a look is under way waits for the next, so that what is found was read
    after it was asked for. `read` answers the jobs that there are."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._asked: defaultdict[JobId, list[asyncio.Future[Job | None]]] = defaultdict(list)
        self._looking: asyncio.Task[None] | None = None

    async def find(self, job_id: JobId) -> Job | None:
        """Raises what the look raises."""
        found: asyncio.Future[Job | None] = asyncio.get_running_loop().create_future()
        self._asked[job_id].append(found)
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        return await found

    async def _look(self) -> None:
        try:
            while self._asked:
                some = dict(list(self._asked.items())[:_MAX_AT_ONCE])
                for job_id in some:
                    del self._asked[job_id]
                await self._answer(some)
        finally:
            self._looking = None

    async def _answer(self, asked: dict[JobId, list[asyncio.Future[Job | None]]]) -> None:
        waiting = [(job_id, found) for job_id, several in asked.items() for found in several]
        try:
            jobs = await self._read(list(asked))
        except Exception as error:  # noqa: BLE001 - it is theirs, all of them
            for _, found in waiting:
                if not found.done():
                    found.set_exception(error)
            return
        for job_id, found in waiting:
            if not found.done():  # whoever asked may have gone
                found.set_result(jobs.get(job_id))
