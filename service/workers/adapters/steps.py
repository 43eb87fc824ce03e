"""Report the steps of a diffusers pipeline, observed on its scheduler."""

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
    """Counts the steps of one clip, in one pass or several, and reports each to `on_step`."""

    def __init__(self, total: int, on_step: OnStep, device: "torch.device") -> None:
        self._steps, self._total = 0, total
        self._on_step = on_step
        self._device = device

    @contextmanager
    def watch(self, scheduler: Any) -> Iterator[None]:
        """Call `on_step` after every step inside the block; its exceptions leave the step."""
        step = scheduler.step

        @wraps(step)
        def step_and_report(*args: Any, **kwargs: Any) -> Any:
            result = step(*args, **kwargs)
            self._report()
            return result

        scheduler.step = step_and_report  # on the instance, hiding the method of the class
        try:
            yield
        finally:
            del scheduler.step

    def begin_decoding(self) -> None:
        self._on_step(Stage.DECODE, 0, 1)

    def end_decoding(self) -> None:
        self._on_step(Stage.DECODE, 1, 1)

    def _report(self) -> None:
        # Without this wait, all steps would be reported while the GPU still runs the first, and a
        # cancellation would leave it with the work of all.
        wait_for(self._device)
        self._steps += 1
        self._on_step(Stage.GENERATE, self._steps, self._total)
