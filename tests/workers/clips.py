"""Clips of adapters that are made for a test."""

from collections.abc import Callable, Iterator
from typing import Any

from service.workers.adapters.base import Clip


def frames_only(generate: Callable[..., Iterator[Any]]) -> Callable[..., Clip]:
    """Let a generator of frames be the `generate` of an adapter without sound."""
    return lambda *args, **kwargs: Clip(generate(*args, **kwargs))
