"""Measure the time of each stage; stages may overlap, as frames are encoded while generated."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class Stopwatch:
    def __init__(
        self, preload_seconds: float = 0.0, on_model_free: Callable[[], None] | None = None
    ) -> None:
        """`preload_seconds` of GPU time before the attempt are billed to it. `on_model_free` gives
        the model to the next attempt; without it, GPU time is billed to the end."""
        self._on_model_free = on_model_free
        self._start = time.perf_counter()
        self._preload_seconds = preload_seconds
        self._stage_seconds: dict[str, float] = {}
        self._step_at = self._start
        self._model_seconds: float | None = None

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Add the time inside the block to `stage`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._add(stage, time.perf_counter() - start)

    def time_items(self, stage: str, items: Iterator[T]) -> Iterator[T]:
        """Yield `items`, adding the time to produce them to `stage`, but not the consumer's."""
        while True:
            start = time.perf_counter()
            try:
                item = next(items)
            except StopIteration:
                return
            finally:
                self._add(stage, time.perf_counter() - start)
            yield item

    def note_step(self, stage: str) -> None:
        """Note the end of a step that an adapter reports while it generates. Only the time of
        `decode` is kept: since the step before, which the GPU had finished."""
        now = time.perf_counter()
        if stage == "decode":
            self._add(stage, now - self._step_at)
        self._step_at = now

    def total(self) -> float:
        """Return the seconds since this stopwatch was created."""
        return time.perf_counter() - self._start

    def release_model(self) -> None:
        """Stop billing GPU time after the last frame, if another attempt may take the model."""
        if self._on_model_free is not None:
            self._model_seconds = self.total()
            self._on_model_free()

    def gpu_seconds(self) -> float:
        """Return the GPU time to bill, preloading included."""
        model_seconds = self.total() if self._model_seconds is None else self._model_seconds
        return self._preload_seconds + model_seconds

    def milliseconds(self) -> dict[str, int]:
        """Return the time of each stage and `total`."""
        return {**self.stages_ms(), "total": round(self.total() * 1000)}

    def stages_ms(self) -> dict[str, int]:
        """Return the time of each stage; `encode` excludes waiting for frames, and `generate`
        excludes `decode`, where the adapter reports it."""
        stages = dict(self._stage_seconds)
        stages["encode"] = max(0.0, stages.get("encode", 0.0) - stages.get("generate", 0.0))
        if "decode" in stages:
            stages["generate"] = max(0.0, stages.get("generate", 0.0) - stages["decode"])
        return {stage: round(seconds * 1000) for stage, seconds in stages.items()}

    def _add(self, stage: str, seconds: float) -> None:
        self._stage_seconds[stage] = self._stage_seconds.get(stage, 0.0) + seconds
