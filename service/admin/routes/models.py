"""The models: how each does, what it costs, and its pause."""

from dataclasses import dataclass
from datetime import datetime

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from service.admin.routes.overview import (
    PARTS_OF_MODEL,
    SAMPLE_OF_MODEL,
    LengthQuery,
    Past,
    read_pasts,
)
from service.admin.visit import ActorDep, Visit, VisitDep, page_router
from service.domain.errors import FieldError, RequestRefused
from service.domain.models.card import ModelCard
from service.domain.window import Length, Window
from service.lifecycle import pause
from service.lifecycle.workers import ModelWorkers
from service.store import jobs, statistics
from service.store.transaction import Transaction

router = page_router("/models")


@dataclass(frozen=True)
class ModelView:
    """A model at this moment, and the jobs that it ended within a window."""

    card: ModelCard
    workers: ModelWorkers
    queued: int
    running: int
    paused_at: datetime | None
    warm: int | None  # containers that an admin keeps
    usd_per_hour: float  # of a warm container
    past: Past

    @property
    def usd_per_second(self) -> float | None:
        """Return the dollars that a second of video cost."""
        value = self.past.promises["price"].value
        return None if value is None else value / 10


@dataclass(frozen=True)
class UnservedModel:
    """A paused model that is no longer served, and the number of its jobs that wait."""

    name: str
    paused_at: datetime
    queued: int


@router.get("")
async def show_models(visit: VisitDep, window: LengthQuery = Length.DAY) -> Response:
    past = Window.until(visit.runtime.clock(), window.time)
    views = await visit.read(lambda tx: _read(tx, visit, past))
    unserved = await visit.read(lambda tx: _read_unserved(tx, visit))
    return await visit.page(
        "models.html",
        views=views,
        unserved=unserved,
        length=window,
        lengths=list(Length),
        max_warm=visit.runtime.workers.max_warm,
    )


@router.post("/{model}/pause")
async def pause_model(model: str, visit: ActorDep) -> Response:
    visit.runtime.check_served(model)
    runtime, actor = visit.runtime, visit.key.id
    await runtime.write(lambda tx: pause.pause(tx, model, actor, runtime.clock()))
    return visit.redirect("/models")


@router.post("/{model}/resume")
async def resume_model(model: str, visit: ActorDep) -> Response:
    runtime, actor = visit.runtime, visit.key.id
    if not await runtime.write(lambda tx: pause.resume(tx, model, actor, runtime.clock())):
        visit.runtime.check_served(model)
    return visit.redirect("/models")


@router.post("/{model}/warm")
async def keep_model_warm(model: str, visit: ActorDep) -> Response:
    """Keep as many containers of the model as the form says."""
    visit.runtime.check_served(model)
    runtime, actor = visit.runtime, visit.key.id
    number = _containers(str((await visit.request.form()).get("containers", "")))
    now = runtime.clock()
    await run_in_threadpool(pause.keep_warm, runtime.db, runtime.workers, model, number, actor, now)
    return visit.redirect("/models")


def _containers(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) < 6:
        return int(text)
    detail = "write how many containers to keep warm, such as 1; 0 for none"
    raise RequestRefused([FieldError("/containers", detail, "invalid_number")])


def _read(tx: Transaction, visit: Visit, window: Window) -> list[ModelView]:
    groups, paused_since = statistics.waiting_groups(tx), jobs.paused_models(tx)
    warm, cards = jobs.warm_containers(tx), visit.runtime.cards
    pasts = read_pasts(tx, window, list(cards), sample=SAMPLE_OF_MODEL, parts=PARTS_OF_MODEL)
    return [
        ModelView(
            card=card,
            workers=visit.runtime.workers.of_model(name),
            queued=sum(group.jobs for group in groups if group.model == name),
            running=jobs.count_active(tx, name),
            paused_at=paused_since.get(name),
            warm=warm.get(name),
            usd_per_hour=visit.runtime.terms.rates.expected(name).usd_per_second * 3600,
            past=past,
        )
        for (name, card), past in zip(cards.items(), pasts, strict=True)
    ]


def _read_unserved(tx: Transaction, visit: Visit) -> list[UnservedModel]:
    groups, paused_since = statistics.waiting_groups(tx), jobs.paused_models(tx)
    return [
        UnservedModel(name, at, sum(group.jobs for group in groups if group.model == name))
        for name, at in sorted(paused_since.items())
        if name not in visit.runtime.cards
    ]
