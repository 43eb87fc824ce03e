"""Build the components of a worker from the settings."""

from pathlib import Path
from typing import TYPE_CHECKING

from service.domain.attempt import ArtifactStore
from service.egress.client import Egress
from service.environment import tool_environment
from service.settings import Settings
from service.wiring.rules import egress_rules, tuning
from service.workers.stages.fetch import Sources
from service.workers.syncnet import SyncNet

if TYPE_CHECKING:
    from service.workers.attempt import ModelCache
    from service.workers.recipe import WorkerEnvironment


def sources(settings: Settings) -> Sources:
    """Build the fetcher of inputs, with its limits."""
    return Sources(
        egress=Egress(egress_rules(settings)),
        max_image_bytes=settings.max_image_bytes,
        max_video_bytes=settings.max_video_bytes,
    )


def build_worker_environment(
    settings: Settings, artifacts: ArtifactStore, scratch: Path
) -> "WorkerEnvironment":
    """Build the environment of a worker, local or on Modal."""
    # It imports numpy, which the API does not need.
    from service.workers.recipe import WorkerEnvironment

    return WorkerEnvironment(
        artifacts,
        scratch,
        sources(settings),
        settings.ahead_bytes,
        None if settings.syncnet is None else SyncNet(settings.syncnet, tool_environment()),
    )


def warm(settings: Settings) -> "ModelCache":
    """Build the cache of model adapters, with the weights and tuning of the settings."""
    from service.workers.adapters.registry import make_adapter
    from service.workers.attempt import ModelCache

    options = tuning(settings)
    return ModelCache(lambda card: make_adapter(card, settings.weights.get(card.name), options))
