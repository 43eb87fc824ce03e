"""One attempt, whatever comes of it: an outcome or a failure, never an accident."""

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
from service.log import Log
from service.workers import machine
from service.workers.adapters.base import Adapter
from service.workers.device import release_memory
from service.workers.machine import reason_of
from service.workers.recipe import WorkerEnvironment, make_video
from service.workers.reporter import GivenBack, HttpReporter
from service.workers.stopwatch import Stopwatch

log = Log(__name__)


class Warm:
    """The adapter of the model that was used last; one is kept, for two do not share a GPU well."""

    def __init__(self, make: Callable[[ModelCard], Adapter]) -> None:
        self._make = make
        self._ahead = 0.0
        self.kept: tuple[ModelCard, Adapter] | None = None

    def adapter(self, card: ModelCard) -> Adapter:
        if self.kept is None or self.kept[0] != card:
            self.kept = None
            release_memory()  # its memory is free before the next one is made
            self.kept = (card, self._make(card))
        return self.kept[1]

    def load(self, card: ModelCard) -> None:
        """Bring a model to where it runs before anybody asks for it; the next attempt pays."""
        began = time.perf_counter()
        try:
            self.adapter(card).load()
        finally:
            self._ahead += time.perf_counter() - began

    def stopwatch(self, hand_on: Callable[[], None] | None = None) -> Stopwatch:
        """For an attempt that begins now, and hands the model on when it has made its frames."""
        ahead, self._ahead = self._ahead, 0.0
        return Stopwatch(ahead, hand_on)


def attempt(
    ticket: Ticket,
    warm: Warm,
    bench: WorkerEnvironment,
    reporter: HttpReporter,
    prefix: str,
    hand_on: Callable[[], None] | None = None,
) -> Outcome | Failure | GivenBack:
    """Carry out a ticket; `hand_on` is called when the model may make another clip meanwhile.
    Raises Lost when it is another's, and no other Exception."""
    watch = warm.stopwatch(None if hand_on is None else _in_turn(reporter.let_model_go, hand_on))
    adapter = None

    def spent() -> GivenBack:
        # Of our own adapter: by now the warm one may be the next clip's. Before the model is
        # loaded nobody knows what it runs on.
        gpu = None if adapter is None else adapter.gpu
        return GivenBack(gpu, None if gpu is None else watch.spent())

    try:
        adapter = warm.adapter(ticket.card)
        return make_video(ticket, adapter, bench, prefix, reporter.step, watch)
    except AttemptFailed as failed:
        found = failed
    except Lost:
        raise
    except WorkerStopping:
        return spent()
    except Exception as fault:  # noqa: BLE001
        found = _judged(fault, ticket, bench)
    log.info("attempt failed", **named(ticket), kind=found.kind, code=found.code)
    return failure(found, reporter.stage, spent())


def _judged(fault: Exception, ticket: Ticket, bench: WorkerEnvironment) -> AttemptFailed:
    """Judge what nobody planned: it is the machine's fault, or ours."""
    reason = reason_of(fault, bench.scratch)
    if reason is None:
        log.error("attempt failed by a fault of ours", fault, **named(ticket))
        return _UNPLANNED
    log.error("attempt failed by a fault of the machine", fault, **named(ticket), reason=reason)
    is_storage = isinstance(fault, Unavailable | StorageFull)
    return machine.failed(reason, "storage_unavailable" if is_storage else "machine_fault")


def failure(failed: AttemptFailed, stage: Stage, spent: GivenBack) -> Failure:
    """As it is reported."""
    return Failure(
        kind=failed.kind,
        code=failed.code,
        message=failed.message[:2000],
        stage=stage,
        of_model=failed.of_model,
        gpu=spent.gpu,
        gpu_seconds=spent.gpu_seconds,
    )


def _in_turn(*acts: Callable[[], None]) -> Callable[[], None]:
    def do() -> None:
        for act in acts:
            act()

    return do


def named(ticket: Ticket) -> dict[str, str | int]:
    """What a line of the log calls it."""
    return {"job": ticket.job_id, "attempt": ticket.attempt}


_UNPLANNED = AttemptFailed(
    FailureKind.INTERNAL, "worker_error", "the worker failed; its log says why"
)
