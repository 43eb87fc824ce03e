"""The parts of the web process, put together once by the root and handed to every route."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property, partial
from threading import Event
from typing import TypeVar

from anyio import to_thread

from service.domain.clock import ServiceClock
from service.domain.errors import NotFound, Unavailable
from service.domain.ids import JobId, KeyId
from service.domain.job import Job
from service.domain.limits import Limits
from service.domain.models.card import ModelCard
from service.domain.ports import ArtifactStore
from service.domain.queue_order import Forecast
from service.domain.submission import Submission
from service.domain.terms import Terms
from service.egress.client import Rules
from service.lifecycle.calls.calls import Calls
from service.lifecycle.submit import Accepted, Answer, submit_all
from service.runtime.containers import ContainerPools
from service.runtime.disk_space import DiskSpace
from service.runtime.fleet import Fleet
from service.runtime.future_bridge import FutureBridge
from service.runtime.job_cache import JobCache
from service.runtime.job_loader import JobLoader
from service.runtime.key_cache import KeyCache
from service.runtime.key_slots import KeySlots
from service.runtime.notifier import Notifier
from service.runtime.queue_forecast import QueueForecast
from service.runtime.rate_limit import RateLimit
from service.runtime.uploads import Uploads
from service.runtime.wait_slots import WaitSlots
from service.store import jobs
from service.store.database import Database
from service.store.transaction import Transaction

T = TypeVar("T")

_PATIENCE_SECONDS = 15.0


@dataclass(frozen=True)
class Runtime:
    """Everything the routes need, put together once by the root."""

    db: Database
    artifacts: ArtifactStore
    cards: dict[str, ModelCard]  # those this service serves; the first is the default
    limits: Limits
    terms: Terms
    clock: ServiceClock
    notifier: Notifier
    fleet: Fleet
    key_cache: KeyCache
    forecast: QueueForecast
    wait_slots: WaitSlots
    list_slots: KeySlots
    inline_slots: KeySlots
    calls: Calls | None  # where workers do not ask for work
    pools: ContainerPools | None  # the same
    jobs_due: Event  # set when a job was queued
    webhooks_due: Event  # set when a webhook is owed
    disk_space: DiskSpace
    uploads: Uploads
    request_limit: RateLimit
    submit_limit: RateLimit
    job_cache: JobCache
    egress_rules: Rules
    link_secret: bytes
    worker_token: str
    public_url: str | None
    version: str

    @property
    def default_card(self) -> ModelCard:
        return next(iter(self.cards.values()))

    async def read(self, run: Callable[[Transaction], T]) -> T:
        """A read of the local file takes microseconds and no thread; one over a network does."""
        if self.db.local:
            return self.db.read(run)
        look = partial(self.db.read, run)
        # A thread that hangs is left to itself; it ends when its connection does.
        return await _patiently(to_thread.run_sync(look, abandon_on_cancel=True))

    async def find_job(self, job_id: JobId, key_id: KeyId) -> Job:
        """Raises NotFound for a job that is not there or not this key's."""
        if self.db.local:
            return self.job_cache.find(self.db, job_id, key_id)
        job = await self._lookup.find(job_id)
        if job is None or job.key_id != key_id:
            raise NotFound(f"no job {job_id}")
        return job

    @cached_property
    def _landing(self) -> FutureBridge:
        return FutureBridge()

    @cached_property
    def _lookup(self) -> JobLoader:
        return JobLoader(lambda ids: self.read(lambda tx: jobs.get_all(tx, ids)))

    async def place(self, job: Job) -> Forecast:
        """How many jobs will be claimed before this queued one, and in how long it will be."""
        now = self.clock()
        models, workers = self._competing(job.request.model)
        if (known := self.forecast.known(job, models, workers)) is not None:
            return known
        if self.db.local and self.forecast.quick:
            return self.forecast.place(job, models, workers, now)
        place = partial(self.forecast.place, job, models, workers, now)
        return await _patiently(to_thread.run_sync(place, abandon_on_cancel=True))

    def workers(self, model: str) -> int:
        """How many can make its videos now, by what was last heard of them."""
        now = self.clock.passed()
        if self.pools is None:
            return self.fleet.serving(model, now)
        pool = self.pools.known(now).get(model)
        return 0 if pool is None else pool.containers

    def _competing(self, model: str) -> tuple[frozenset[str], int]:
        """The models that are made by the same workers as `model`, and how many those are."""
        if self.calls is not None:
            return frozenset({model}), self.calls.most
        return self.fleet.competing(model, self.clock.passed())

    async def write(self, run: Callable[[Transaction], T], *, replicated: bool = True) -> T:
        """Write and wait until the change is durable; many requests share one fsync."""
        return await self._durable(self.db.write(run, replicated=replicated))

    async def check_ready(self) -> None:
        """Raise Unavailable unless jobs can be looked up and written."""
        await self.read(jobs.count_running)
        await self._durable(self.db.check_writable())

    async def submit(self, asked: Submission) -> Accepted:
        """The same for a submit; those that come at once also share their statements."""
        work = self.db.write_together(self._submit_all, asked, lock=asked.key_id)
        return await self._durable(work)

    def _submit_all(self, tx: Transaction, asked: Sequence[Submission]) -> list[Answer]:
        return submit_all(tx, asked, self.limits, self.clock(), self.disk_space.check)

    async def _durable(self, future: Future[T]) -> T:
        if self.db.local and self.db.durability.is_immediate:
            return await self._landing.wait(future)
        return await _patiently(asyncio.shield(asyncio.wrap_future(future)))


async def _patiently(work: Awaitable[T]) -> T:
    """Raises Unavailable when a server hangs: whoever asks has a right to an answer."""
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            return await work
    except TimeoutError:
        raise Unavailable("the database does not answer in time") from None
