"""The parts of the web process, put together once by the root and handed to every route."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool

from service.api.bell import Bell
from service.api.fleet import Fleet
from service.api.keyring import Keyring
from service.api.line import Line
from service.api.pace import Pace
from service.api.room import Room
from service.api.seen import Seen
from service.domain.card import ModelCard
from service.domain.errors import FieldError, RequestRefused
from service.domain.job import Job, JobId, KeyId
from service.domain.limits import Limits
from service.domain.line import Forecast
from service.domain.ports import ArtifactStore, Clock
from service.domain.price import Terms
from service.egress.client import Rules
from service.lifecycle.find import find
from service.store.database import Database, Transaction

T = TypeVar("T")


@dataclass(frozen=True)
class Parts:
    """Everything the routes need, put together once by the root."""

    db: Database
    artifacts: ArtifactStore
    cards: dict[str, ModelCard]  # those this service serves; the first is the default
    limits: Limits
    terms: Terms
    clock: Clock
    bell: Bell
    fleet: Fleet
    keyring: Keyring
    line: Line
    room: Room
    requests: Pace
    submits: Pace
    seen: Seen
    egress_rules: Rules
    link_secret: bytes
    worker_token: str
    public_url: str | None
    version: str

    @property
    def default_card(self) -> ModelCard:
        return next(iter(self.cards.values()))

    def card(self, name: str | None) -> ModelCard:
        """The card of a model that is served here. Raises RequestRefused naming those that are."""
        if name is None:
            return self.default_card
        card = self.cards.get(name)
        if card is None:
            detail = f"no model {name!r} here; there is: {', '.join(self.cards)}"
            raise RequestRefused([FieldError("/model", detail, "unknown_model")])
        return card

    async def read(self, run: Callable[[Transaction], T]) -> T:
        """A read of the local file takes microseconds and no thread; one over a network does."""
        if self.db.local:
            return self.db.read(run)
        return await run_in_threadpool(self.db.read, run)

    async def find_job(self, job_id: JobId, key_id: KeyId) -> Job:
        """Raises NotFound for a job that is not there or not this key's."""
        if self.db.local:
            return self.seen.find(self.db, job_id, key_id)
        return await self.read(lambda tx: find(tx, job_id, key_id))

    async def place(self, job: Job) -> Forecast:
        """How many jobs will be claimed before this queued one, and in how long it will be."""
        now = self.clock()
        models, workers = self.fleet.competing(job.request.model, now)
        if self.db.local:
            return self.line.place(job, models, workers, now)
        return await run_in_threadpool(self.line.place, job, models, workers, now)

    async def write(self, run: Callable[[Transaction], T]) -> T:
        """Answers once the change is durable; many requests share one fsync."""
        future: Future[T] = self.db.write(run)
        return await asyncio.wrap_future(future)


# A coroutine, because FastAPI sends plain functions to a thread, which costs more than this does.
async def parts(request: Request) -> Parts:
    found: Parts = request.app.state.parts
    return found


PartsDep = Annotated[Parts, Depends(parts)]
