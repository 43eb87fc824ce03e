"""Settings to the parts of a worker."""

from pathlib import Path
from typing import TYPE_CHECKING

from service.domain.ports import ArtifactStore
from service.egress.client import Egress
from service.settings import Settings
from service.wiring.rules import egress_rules, levers
from service.workers.stages.fetch import Sources

if TYPE_CHECKING:
    from service.workers.attempt import Warm
    from service.workers.recipe import WorkerEnvironment


def sources(settings: Settings) -> Sources:
    """Where a worker gets what its jobs begin with, and how much of it."""
    return Sources(
        egress=Egress(egress_rules(settings)),
        max_image_bytes=settings.max_image_bytes,
        max_video_bytes=settings.max_video_bytes,
    )


def bench(settings: Settings, kept: ArtifactStore, scratch: Path) -> "WorkerEnvironment":
    """Where a worker works, here and on Modal."""
    from service.workers.recipe import (
        WorkerEnvironment,  # numpy and Pillow, which the API starts without
    )

    return WorkerEnvironment(kept, scratch, sources(settings), settings.ahead_bytes)


def warm(settings: Settings) -> "Warm":
    """Makes the models' adapters with the weights and levers that were chosen."""
    from service.workers.adapters.registry import make_adapter
    from service.workers.attempt import Warm

    chosen = levers(settings)
    return Warm(lambda card: make_adapter(card, settings.weights.get(card.name), chosen))
