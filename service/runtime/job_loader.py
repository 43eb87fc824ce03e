"""Batch concurrent job lookups into one query, for databases across a network."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeAlias

from service.domain.ids import JobId
from service.domain.job import Job

Read: TypeAlias = Callable[[Sequence[JobId]], Awaitable[Mapping[JobId, Job]]]

_MAX_AT_ONCE = 100


class JobLoader:
    """Lookups during a query join the next one, so that no result is older than its request."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._pending: defaultdict[JobId, list[asyncio.Future[Job | None]]] = defaultdict(list)
        self._task: asyncio.Task[None] | None = None

    async def find(self, job_id: JobId) -> Job | None:
        """Return the job, or None. Raises what the query raises."""
        future: asyncio.Future[Job | None] = asyncio.get_running_loop().create_future()
        self._pending[job_id].append(future)
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        try:
            while self._pending:
                batch = dict(list(self._pending.items())[:_MAX_AT_ONCE])
                for job_id in batch:
                    del self._pending[job_id]
                await self._resolve(batch)
        finally:
            self._task = None

    async def _resolve(self, batch: dict[JobId, list[asyncio.Future[Job | None]]]) -> None:
        waiters = [(job_id, future) for job_id, futures in batch.items() for future in futures]
        try:
            jobs = await self._read(list(batch))
        except Exception as error:  # noqa: BLE001 - passed to all callers
            for _, future in waiters:
                if not future.done():
                    future.set_exception(error)
            return
        for job_id, future in waiters:
            if not future.done():  # its caller may be cancelled
                future.set_result(jobs.get(job_id))
