"""The runtime of the web process: its components, and reads and writes with timeouts."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property, partial
from threading import Event
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from anyio import CapacityLimiter, to_thread

from service.domain.attempt import ArtifactStore
from service.domain.clock import ServiceClock
from service.domain.errors import NotFound, Unavailable
from service.domain.ids import JobId
from service.domain.job import Job, Scope, Submission
from service.domain.limits import Limits
from service.domain.models.card import ModelCard
from service.domain.queue_order import Forecast
from service.domain.terms import Terms
from service.egress.client import Rules
from service.lifecycle.likenesses import Voices
from service.lifecycle.submit import Accepted, Answer, submit_all
from service.lifecycle.workers import Workers
from service.runtime.disk_space import DiskSpace
from service.runtime.event_feed import EventFeed, Renderer
from service.runtime.fleet import Fleet
from service.runtime.future_bridge import FutureBridge
from service.runtime.input_check import InputCheck
from service.runtime.job_cache import JobCache
from service.runtime.job_loader import JobLoader
from service.runtime.key_cache import KeyCache
from service.runtime.notifier import Notifier
from service.runtime.queue_forecast import QueueForecast
from service.runtime.throttles import Throttles
from service.runtime.uploads import Uploads
from service.store import jobs
from service.store.database import Database
from service.store.transaction import Transaction

T = TypeVar("T")

_TIMEOUT_SECONDS = 15.0
_VOICE_THREADS = 20


@dataclass(frozen=True)
class Runtime:
    """The components that the routes use, built once by `service.wiring`."""

    db: Database
    artifacts: ArtifactStore
    cards: dict[str, ModelCard]  # of the served models; the first is the default
    limits: Limits
    terms: Terms
    clock: ServiceClock
    notifier: Notifier
    fleet: Fleet
    key_cache: KeyCache
    forecast: QueueForecast
    throttles: Throttles
    workers: Workers
    jobs_due: Event  # set when a job was queued
    webhooks_due: Event  # set when a webhook is owed
    speech_due: Event  # set when a text is to be spoken
    disk_space: DiskSpace
    uploads: Uploads
    job_cache: JobCache
    event_renderer: Renderer
    egress_rules: Rules
    voices: Voices
    input_check: InputCheck
    link_secret: bytes
    worker_token: str
    metrics_token: str | None
    public_url: str | None
    version: str

    @property
    def default_card(self) -> ModelCard:
        return next(iter(self.cards.values()))

    def check_served(self, model: str) -> None:
        """Raise NotFound for a model that this service does not have."""
        if model not in self.cards:
            raise NotFound(f"no model {model[:64]}; this service has: {', '.join(self.cards)}")

    async def read(self, run: Callable[[Transaction], T]) -> T:
        """Run a read: at once on a local file, in a thread for a database across a network."""
        if self.db.local:
            return self.db.read(run)
        run_read = partial(self.db.read, run)
        # A hanging thread is abandoned; it ends with its connection.
        return await _with_timeout(to_thread.run_sync(run_read, abandon_on_cancel=True))

    async def find_job(self, job_id: JobId, scope: Scope) -> Job:
        """Return a job. Raises NotFound if it does not exist or belongs to another key."""
        if self.db.local:
            return self.job_cache.find(self.db, job_id, scope)
        job = await self._loader.find(job_id)
        if job is None or not scope.includes(job.key_id):
            raise NotFound(f"no job {job_id}")
        return job

    @cached_property
    def _bridge(self) -> FutureBridge:
        return FutureBridge()

    @cached_property
    def voice_threads(self) -> CapacityLimiter:
        """Those that look for voices; a program or a provider that hangs holds up nothing else."""
        return CapacityLimiter(_VOICE_THREADS)

    @cached_property
    def provider_threads(self) -> CapacityLimiter:
        """Those that wait for a provider of voices, for minutes."""
        return CapacityLimiter(_VOICE_THREADS)

    @cached_property
    def sample_locks(self) -> WeakValueDictionary[str, asyncio.Lock]:
        """A lock for each voice whose sample is being made."""
        return WeakValueDictionary()

    @cached_property
    def _loader(self) -> JobLoader:
        return JobLoader(lambda ids: self.read(lambda tx: jobs.get_all(tx, ids)))

    @cached_property
    def event_feed(self) -> EventFeed:
        return EventFeed(
            self.notifier, self.event_renderer, self.clock, read=self.read, settle=self._settle
        )

    async def _settle(self) -> None:
        """Return once what was read before cannot be lost any more."""
        if not self.db.durability.is_immediate:
            await self.write(lambda _: None)

    async def forecast_job(self, job: Job) -> Forecast:
        """Forecast the queue position and start time of a queued job."""
        now = self.clock()
        models, workers = self.workers.competing(job.request.model)
        if (forecast := self.forecast.cached(job, models, workers)) is not None:
            return forecast
        if self.db.local and self.forecast.is_fast:
            return self.forecast.forecast(job, models, workers, now)
        run = partial(self.forecast.forecast, job, models, workers, now)
        return await _with_timeout(to_thread.run_sync(run, abandon_on_cancel=True))

    async def forecast_next(self, model: str) -> float | None:
        """Forecast the milliseconds until a worker begins a job of `model` that is submitted now,
        behind all that wait; None where no worker serves it, or it is paused."""
        models, workers = self.workers.competing(model)
        run = partial(self.forecast.next_start, model, models, workers, self.clock())
        if self.db.local and self.forecast.is_fast:
            return run()
        return await _with_timeout(to_thread.run_sync(run, abandon_on_cancel=True))

    async def write(self, run: Callable[[Transaction], T], *, replicated: bool = True) -> T:
        """Run a write, durable on return; concurrent ones share an fsync. A write that is not
        `replicated` is durable here only."""
        return await self._durable(self.db.write(run, replicated=replicated))

    async def read_durable(self, run: Callable[[Transaction], T | None]) -> T | None:
        """Run a read, which finds nothing or what can no longer be lost on return."""
        if await self.read(run) is None:
            return None
        # Committed is not yet durable where the database is replicated: a write waits for that.
        return await self.write(run)

    async def run(self, use_case: Callable[..., T], *args: Any) -> T:
        """Run a use case that waits for the database in a thread."""
        work = to_thread.run_sync(partial(use_case, *args), abandon_on_cancel=True)
        return await _with_timeout(work)

    async def check_ready(self) -> None:
        """Raise Unavailable unless the database can be read and written."""
        await self.read(jobs.count_running)
        await self._durable(self.db.check_writable())

    async def submit(self, submission: Submission) -> Accepted:
        """Submit a job, durable on return; concurrent submits share their statements."""
        work = self.db.write_together(self._submit_all, submission, lock=submission.key_id)
        return await self._durable(work)

    def _submit_all(self, tx: Transaction, submissions: Sequence[Submission]) -> list[Answer]:
        return submit_all(tx, submissions, self.limits, self.clock(), self.disk_space.check)

    async def _durable(self, future: Future[T]) -> T:
        if self.db.local and self.db.durability.is_immediate:
            return await self._bridge.wait(future)
        return await _with_timeout(asyncio.shield(asyncio.wrap_future(future)))


async def _with_timeout(work: Awaitable[T]) -> T:
    """Await `work`. Raises Unavailable after 15 s, should the database server hang."""
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            return await work
    except TimeoutError:
        raise Unavailable("the database did not respond in time") from None
