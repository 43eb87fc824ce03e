"""Build the calls of workers on Modal from the settings."""

from datetime import timedelta

from service.dispatch.on_modal import ModalDispatcher
from service.domain.ports import ArtifactStore
from service.lifecycle.calls.calls import Calls
from service.settings import Settings
from service.store.database import Database
from service.wiring.rules import cards, terms


def calls(settings: Settings, db: Database, artifacts: ArtifactStore) -> Calls | None:
    """Build the ticks that start and poll calls; None where workers are local."""
    if settings.dispatch == "local":
        return None
    dispatcher = ModalDispatcher(settings.modal_app, settings.modal_environment or None)
    return Calls(
        db=db,
        dispatcher=dispatcher,
        artifacts=artifacts,
        cards=cards(settings),
        terms=terms(settings),
        max_active_per_key=settings.max_active_per_key,
        max_calls=settings.modal_max_containers,
        api_url=(settings.worker_url or settings.public_url).rstrip("/") or None,
        max_silence=timedelta(seconds=settings.running_lease_seconds),
        max_start=timedelta(seconds=settings.modal_start_seconds),
    )
