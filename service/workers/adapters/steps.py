"""Sees every step of a scheduler, which is where all diffusers pipelines pass by."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

from service.domain.attempt import Stage
from service.workers.adapters.base import OnStep
from service.workers.device import wait_for

if TYPE_CHECKING:
    import torch


class Steps:
    """Counts the steps of one clip, in one pass or several, and tells each when it is done."""

    def __init__(self, total: int, on_step: OnStep, device: "torch.device") -> None:
        self._done, self._total = 0, total
        self._on_step = on_step
        self._device = device

    @contextmanager
    def of(self, scheduler: Any) -> Iterator[None]:
        """Within, `on_step` hears of every step, and what it raises comes out of the step."""
        step = scheduler.step

        @wraps(step)
        def watched(*args: Any, **kwargs: Any) -> Any:
            result = step(*args, **kwargs)
            self._stepped()
            return result

        scheduler.step = watched  # on the instance: it hides the method of the class
        try:
            yield
        finally:
            del scheduler.step

    def decoding(self) -> None:
        self._on_step(Stage.DECODE, 0, 1)

    def decoded(self) -> None:
        self._on_step(Stage.DECODE, 1, 1)

    def _stepped(self) -> None:
        # Unless waited for, all steps are reported while the GPU is still busy with the first,
        # and a cancel leaves it with the work of all.
        wait_for(self._device)
        self._done += 1
        self._on_step(Stage.GENERATE, self._done, self._total)
