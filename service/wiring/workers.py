"""Settings to the kind of workers that this service has."""

from datetime import timedelta

from service.dispatch.on_modal import ModalDispatcher
from service.domain.attempt import ArtifactStore
from service.domain.clock import ServiceClock
from service.lifecycle.calls.calls import Calls
from service.lifecycle.workers import Workers
from service.runtime.containers import ContainerPools
from service.runtime.fleet import Fleet
from service.runtime.workers import CalledWorkers, PulledWorkers
from service.settings import Settings
from service.store.database import Database
from service.wiring.rules import cards, terms


def build_workers(
    settings: Settings, db: Database, artifacts: ArtifactStore, fleet: Fleet, clock: ServiceClock
) -> Workers:
    if settings.dispatch == "local":
        return PulledWorkers(fleet, clock)
    dispatcher = ModalDispatcher(settings.modal_app, settings.modal_environment or None)
    served = cards(settings)
    calls = Calls(
        db=db,
        dispatcher=dispatcher,
        artifacts=artifacts,
        cards=served,
        terms=terms(settings),
        max_active_per_key=settings.max_active_per_key,
        max_calls=settings.modal_max_containers,
        api_url=(settings.worker_url or settings.public_url).rstrip("/") or None,
        running_lease=timedelta(seconds=settings.running_lease_seconds),
        max_start=timedelta(seconds=settings.modal_start_seconds),
    )
    pools = ContainerPools(dispatcher, tuple(served), calls.warm_containers)
    return CalledWorkers(calls, pools, clock)
