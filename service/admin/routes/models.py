"""The models: how each does, what it costs, and its pause."""

from dataclasses import dataclass
from datetime import datetime

from starlette.responses import Response

from service.admin.routes.overview import LengthQuery, Past, read_past
from service.admin.visit import ActorDep, Visit, VisitDep, page_router
from service.domain.errors import NotFound
from service.domain.models.card import ModelCard
from service.domain.window import LENGTHS, Window
from service.lifecycle.pause import pause, resume
from service.lifecycle.workers import ModelWorkers
from service.store import pauses, statistics
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
    past: Past

    @property
    def usd_per_second(self) -> float | None:
        """Return the dollars that a second of video cost."""
        value = self.past.promises["price"].value
        return None if value is None else value / 10


@router.get("")
async def show_models(visit: VisitDep, window: LengthQuery = "24h") -> Response:
    past = Window.until(visit.runtime.clock(), LENGTHS[window])
    views = await visit.read(lambda tx: _read(tx, visit, past))
    return await visit.page("models.html", views=views, length=window, lengths=list(LENGTHS))


@router.post("/{model}/pause")
async def pause_model(model: str, visit: ActorDep) -> Response:
    _check_served(model, visit)
    runtime, actor = visit.runtime, visit.key.id
    await runtime.write(lambda tx: pause(tx, model, actor, runtime.clock()))
    return visit.redirect("/models")


@router.post("/{model}/resume")
async def resume_model(model: str, visit: ActorDep) -> Response:
    _check_served(model, visit)
    runtime, actor = visit.runtime, visit.key.id
    await runtime.write(lambda tx: resume(tx, model, actor, runtime.clock()))
    return visit.redirect("/models")


def _read(tx: Transaction, visit: Visit, window: Window) -> list[ModelView]:
    groups, paused_since = statistics.waiting_groups(tx), pauses.every(tx)
    attempts = statistics.open_attempts(tx)
    return [
        ModelView(
            card=card,
            workers=visit.runtime.workers.of_model(name),
            queued=sum(group.jobs for group in groups if group.model == name),
            running=sum(each.job.request.model == name for each in attempts),
            paused_at=paused_since.get(name),
            past=read_past(tx, window, name),
        )
        for name, card in visit.runtime.cards.items()
    ]


def _check_served(model: str, visit: Visit) -> None:
    if model not in visit.runtime.cards:
        raise NotFound(f"no model {model[:64]}")
