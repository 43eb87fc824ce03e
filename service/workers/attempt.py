"""Run one attempt and turn every exception but Lost into a failure."""

import logging
import time
from collections.abc import Callable

from service.domain.attempt import (
    AttemptFailed,
    Failure,
    FailureKind,
    Outcome,
    Stage,
    Ticket,
    WorkerStopping,
)
from service.domain.errors import Lost, StorageFull, Unavailable
from service.domain.models.card import ModelCard
from service.workers.adapters.base import Adapter
from service.workers.device import release_memory
from service.workers.machine import machine_failure, machine_fault_reason
from service.workers.recipe import WorkerEnvironment, make_video
from service.workers.reporter import AttemptReleased, HttpReporter
from service.workers.stopwatch import Stopwatch

log = logging.getLogger(__name__)


class ModelCache:
    """Holds the adapter of the last model only: two models do not share a GPU well."""

    def __init__(self, make: Callable[[ModelCard], Adapter]) -> None:
        self._make = make
        self._preload_seconds = 0.0
        self.entry: tuple[ModelCard, Adapter] | None = None

    def adapter(self, card: ModelCard) -> Adapter:
        if self.entry is None or self.entry[0] != card:
            self.entry = None
            release_memory()  # before the next model takes memory
            self.entry = (card, self._make(card))
        return self.entry[1]

    def load(self, card: ModelCard) -> None:
        """Load a model before its first attempt, to which the time is billed."""
        start = time.perf_counter()
        try:
            self.adapter(card).load()
        finally:
            self._preload_seconds += time.perf_counter() - start

    def unload(self) -> None:
        """Free the memory of the model; an attempt that still encodes needs it no more."""
        self.entry = None
        release_memory()

    def stopwatch(self, on_model_free: Callable[[], None] | None = None) -> Stopwatch:
        """Start the stopwatch of an attempt, with the preloading that it has to pay for."""
        seconds, self._preload_seconds = self._preload_seconds, 0.0
        return Stopwatch(seconds, on_model_free)


def run_attempt(
    ticket: Ticket,
    model_cache: ModelCache,
    environment: WorkerEnvironment,
    reporter: HttpReporter,
    prefix: str,
    on_model_free: Callable[[], None] | None = None,
) -> Outcome | Failure | AttemptReleased:
    """Run a ticket; `on_model_free` is called once another attempt may use the model.

    Raises Lost on a stale fencing token, and no other Exception.
    """
    callbacks = on_model_free and _call_all(reporter.release_model, on_model_free)
    watch = model_cache.stopwatch(callbacks)
    adapter = None

    def usage() -> AttemptReleased:
        # Of this attempt's adapter: the cache may hold the next one's by now. The GPU is unknown
        # before the model is loaded.
        gpu = None if adapter is None else adapter.gpu
        return AttemptReleased(gpu, None if gpu is None else watch.gpu_seconds())

    try:
        adapter = model_cache.adapter(ticket.card)
        return make_video(ticket, adapter, environment, prefix, reporter.step, watch)
    except AttemptFailed as error:
        reason = error
    except Lost:
        raise
    except WorkerStopping:
        return usage()
    except Exception as fault:  # noqa: BLE001
        reason = _classify(fault, ticket, environment)
    log.info(
        "attempt failed", extra={**log_fields(ticket), "kind": reason.kind, "code": reason.code}
    )
    times = {Stage(name): ms for name, ms in watch.stages_ms().items() if ms}
    return to_failure(reason, reporter.stage, usage()).model_copy(update={"timings_ms": times})


def _classify(fault: Exception, ticket: Ticket, environment: WorkerEnvironment) -> AttemptFailed:
    """Classify an unexpected exception as a fault of the machine or a bug."""
    reason = machine_fault_reason(fault, environment.scratch)
    if reason is None:
        log.error("attempt failed by a bug in the worker", exc_info=fault, extra=log_fields(ticket))
        return _WORKER_ERROR
    log.error(
        "attempt failed by a fault of the machine",
        exc_info=fault,
        extra={**log_fields(ticket), "reason": reason},
    )
    is_storage = isinstance(fault, Unavailable | StorageFull)
    return machine_failure(reason, "storage_unavailable" if is_storage else "machine_fault")


def to_failure(error: AttemptFailed, stage: Stage, usage: AttemptReleased) -> Failure:
    """Build the report of a failed attempt."""
    return Failure(
        kind=error.kind,
        code=error.code,
        message=error.message[:2000],
        stage=stage,
        of_model=error.of_model,
        gpu=usage.gpu,
        gpu_seconds=usage.gpu_seconds,
    )


def _call_all(*callbacks: Callable[[], None]) -> Callable[[], None]:
    def call() -> None:
        for callback in callbacks:
            callback()

    return call


def log_fields(ticket: Ticket) -> dict[str, str | int]:
    """Return the fields that identify an attempt in log lines."""
    return {"job": ticket.job_id, "attempt": ticket.attempt}


_WORKER_ERROR = AttemptFailed(
    FailureKind.INTERNAL, "worker_error", "the worker failed; its log says why"
)
