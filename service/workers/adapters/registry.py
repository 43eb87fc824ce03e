"""The adapter class of each model, imported on first use."""

from importlib import import_module
from pathlib import Path
from typing import cast

from service.domain.models.card import ModelCard
from service.domain.models.tuning import DEFAULT_TUNING, Tuning
from service.workers.adapters.base import Adapter

ADAPTERS: dict[str, str] = {
    "slate": "service.workers.adapters.slate:Slate",
    "ltx-2b": "service.workers.adapters.ltx:Ltx",
    "ltx-2b-dev": "service.workers.adapters.ltx:LtxDev",
    "ltx-13b": "service.workers.adapters.ltx:LtxUpscaled",
    "wan2.2-5b": "service.workers.adapters.wan:Wan",
    "wan2.2-5b-fast": "service.workers.adapters.wan:WanFast",
    "mochi": "service.workers.adapters.mochi:Mochi",
    "hunyuan": "service.workers.adapters.hunyuan:Hunyuan",
    "puppet": "service.workers.adapters.puppet:Puppet",
    "longcat": "service.workers.adapters.longcat:Longcat",
    "hunyuan-1.5": "service.workers.adapters.hunyuan15:Hunyuan15",
}


def make_adapter(
    card: ModelCard, weights: Path | None = None, tuning: Tuning = DEFAULT_TUNING
) -> Adapter:
    """Create the adapter of `card`, not yet loaded."""
    module, _, name = ADAPTERS[card.name].partition(":")
    return cast("Adapter", getattr(import_module(module), name)(card, weights, tuning))
