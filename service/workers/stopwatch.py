"""How long each stage took; stages may overlap, for frames are encoded while they are made."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class Stopwatch:
    def __init__(self, before: float = 0.0, hand_on: Callable[[], None] | None = None) -> None:
        """`before`: seconds that were spent ahead, for which nobody has been told yet. `hand_on`
        gives the model to the next clip; without it, it is held and paid for to the end."""
        self._hand_on = hand_on
        self._began = time.perf_counter()
        self._before = before
        self._spent: dict[str, float] = {}
        self._paid: float | None = None

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Count the time inside the block to `stage`."""
        before = time.perf_counter()
        try:
            yield
        finally:
            self._add(stage, time.perf_counter() - before)

    def timed(self, stage: str, items: Iterator[T]) -> Iterator[T]:
        """Count only the time that making the items takes, not what is done with them."""
        while True:
            before = time.perf_counter()
            try:
                item = next(items)
            except StopIteration:
                return
            finally:
                self._add(stage, time.perf_counter() - before)
            yield item

    def total(self) -> float:
        """Seconds since this stopwatch was made."""
        return time.perf_counter() - self._began

    def let_model_go(self) -> None:
        """It has made the last frame; where another clip may have it, the GPU's time is over."""
        if self._hand_on is not None:
            self._paid = self.total()
            self._hand_on()

    def spent(self) -> float:
        """Seconds of the GPU, those spent ahead with them."""
        return self._before + (self.total() if self._paid is None else self._paid)

    def milliseconds(self) -> dict[str, int]:
        """By stage, and `total`; `encode` without the making of the frames it waited for."""
        spent = dict(self._spent)
        spent["encode"] = max(0.0, spent.get("encode", 0.0) - spent.get("generate", 0.0))
        return {stage: round(s * 1000) for stage, s in {**spent, "total": self.total()}.items()}

    def _add(self, stage: str, seconds: float) -> None:
        self._spent[stage] = self._spent.get(stage, 0.0) + seconds
