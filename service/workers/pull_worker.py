"""The local worker: claims tickets by long polling and runs them, keeping its model loaded.

While one attempt encodes and uploads, the next uses the model: at most two run at a time.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from service.domain.attempt import (
    AttemptFailed,
    Failure,
    Outcome,
    Stage,
    Ticket,
    WorkerStopping,
)
from service.domain.errors import (
    FieldError,
    Lost,
    RequestRefused,
    Unauthenticated,
)
from service.failpoint import failpoint
from service.workers.attempt import ModelCache, log_fields, run_attempt, to_failure
from service.workers.probe import probe
from service.workers.readiness import Readiness
from service.workers.recipe import WorkerEnvironment
from service.workers.reporter import AttemptReleased, HttpReporter, StopFlag

log = logging.getLogger(__name__)

_WAIT_SECONDS = 20.0
_RETRY_SECONDS = 1.0  # after a failed claim
_CHECK_SECONDS = 0.2
_UNLOAD = "rushes-unload"  # a header: the model in memory is paused
_UNFIT_SECONDS = 5.0  # between reports of a worker that cannot work


@dataclass
class PullWorker:
    """One worker process. `client` has the API's base URL and the worker token."""

    client: httpx.Client
    name: str
    models: list[str]
    environment: WorkerEnvironment
    model_cache: ModelCache
    # Begin the next attempt while the last one still encodes.
    overlap: bool = True
    stopping: StopFlag = field(default_factory=StopFlag)
    readiness: Readiness = field(init=False)
    is_polling: bool = False  # in a long poll, which can be aborted without loss
    _is_api_down: bool = False

    def __post_init__(self) -> None:
        self.readiness = Readiness(lambda: probe(self.environment))

    def work(self) -> None:
        """Run attempts until `stopping` is set. Raises Unauthenticated for an unknown worker token,
        and RequestRefused when the API rejects the claim."""
        max_attempts = 2 if self.overlap else 1
        slots, model = threading.Semaphore(max_attempts), threading.Semaphore(1)
        running: set[Future[None]] = set()
        # Leaving the block waits for the attempts, which end by themselves when stopping.
        with ThreadPoolExecutor(max_attempts, thread_name_prefix="attempt") as threads:
            while not self.stopping.is_set():
                running = _still_running(running)
                # Claim only what can begin at once: another worker may be free.
                if not _acquire_both(slots, model):
                    continue
                ticket = self._next_ticket()
                if ticket is None:
                    model.release()
                    slots.release()
                    continue
                earlier = frozenset() if self._may_overlap(ticket) else frozenset(running)
                running.add(threads.submit(self._run_after, ticket, earlier, slots, model))
        _still_running(running)

    def _may_overlap(self, ticket: Ticket) -> bool:
        """Return False for retries, which may crash the worker, and for a change of model: the
        attempt that still encodes holds the old one, and two do not share a GPU well."""
        entry = self.model_cache.entry
        return _is_first_attempt(ticket) and (entry is None or entry[0] == ticket.card)

    def _next_ticket(self) -> Ticket | None:
        if self.readiness.can_work():
            return self._poll()
        self._report_unfit()
        return None

    def _poll(self) -> Ticket | None:
        """Claim by one long poll; None without work, without an API, or when stopping."""
        self.is_polling = True
        try:
            # Checked after `is_polling` is set, so that the signal handler can abort the poll: an
            # attempt that was just released must not be claimed again.
            ticket = None if self.stopping.is_set() else self._claim()
        except httpx.HTTPError as error:
            (log.debug if self._is_api_down else log.warning)(
                "claim failed", extra={"error": error}
            )
            self._is_api_down = True
            self.stopping.wait(_RETRY_SECONDS)
            return None
        finally:
            self.is_polling = False
        self._is_api_down = False
        return ticket

    def _report_unfit(self) -> None:
        """Report why this worker claims no jobs, then wait."""
        body = {"worker": self.name, "models": self.models, "reason": self.readiness.reason}
        try:
            self.client.post("/internal/unfit", json=body).raise_for_status()
        except httpx.HTTPError as error:
            log.debug("unfit worker could not be reported", extra={"error": error})
        self.stopping.wait(_UNFIT_SECONDS)

    def _run_after(
        self,
        ticket: Ticket,
        earlier: frozenset[Future[None]],
        slots: threading.Semaphore,
        model: threading.Semaphore,
    ) -> None:
        """Run an attempt once the `earlier` ones have ended."""
        with _call_once(model.release) as release_model:
            try:
                self._run(ticket, earlier, release_model)
            finally:
                slots.release()

    def _claim(self) -> Ticket | None:
        card, adapter = self.model_cache.entry or (None, None)
        answer = self.client.post(
            "/internal/claims",
            json={
                "worker": self.name,
                "models": self.models,
                "warm": card.name if card else None,
                "gpu": adapter.gpu if adapter else None,
                "wait_seconds": _WAIT_SECONDS,
            },
            timeout=_WAIT_SECONDS + 10,
        )
        if answer.status_code == 401:
            raise Unauthenticated("the API does not know this worker's token")
        if 400 <= answer.status_code < 500:
            raise RequestRefused([FieldError("", answer.text[:500], "claim_refused")])
        answer.raise_for_status()
        if _UNLOAD in answer.headers:
            log.info(
                "model is paused: its memory is freed", extra={"model": card.name if card else None}
            )
            self.model_cache.unload()
        return None if answer.status_code == 204 else Ticket.model_validate_json(answer.content)

    def _run(
        self, ticket: Ticket, earlier: frozenset[Future[None]], release_model: Callable[[], None]
    ) -> None:
        log.info("attempt begins", extra=log_fields(ticket))
        reporter = HttpReporter(self.client, ticket, self.stopping)
        try:
            prefix = reporter.begin()
            # It sends heartbeats while it waits: a start without begin would expire.
            with reporter:
                result = _wait_for_earlier(earlier, reporter) or run_attempt(
                    ticket,
                    self.model_cache,
                    self.environment,
                    reporter,
                    prefix,
                    release_model if self.overlap and _is_first_attempt(ticket) else None,
                )
                self.readiness.record(result)
                self._report(ticket, reporter, result)
        except Lost as error:
            log.warning("attempt is lost", extra={**log_fields(ticket), "error": error})

    def _report(
        self, ticket: Ticket, reporter: HttpReporter, result: Outcome | Failure | AttemptReleased
    ) -> None:
        if isinstance(result, AttemptReleased):
            log.info("attempt released", extra=log_fields(ticket))
            reporter.release(result)
        elif isinstance(result, Failure):
            reporter.fail(result)
        else:
            failpoint("worker.kept")
            reporter.finish(result)
            log.info("attempt finished", extra=log_fields(ticket))


def _wait_for_earlier(
    earlier: frozenset[Future[None]], reporter: HttpReporter
) -> Failure | AttemptReleased | None:
    """Return None once they have ended, or the result of an attempt that ends while waiting.
    Raises Lost."""
    try:
        while wait(earlier, timeout=_CHECK_SECONDS).not_done:
            reporter.step(Stage.PREPROCESS, 0, 1)
    except WorkerStopping:
        return AttemptReleased()
    except AttemptFailed as error:
        return to_failure(error, reporter.stage, AttemptReleased())
    return None


def _is_first_attempt(ticket: Ticket) -> bool:
    return ticket.attempt == 1


def _acquire_both(slots: threading.Semaphore, model: threading.Semaphore) -> bool:
    """Acquire both or none; wait only briefly, so that the caller can check for stopping."""
    if not slots.acquire(timeout=_CHECK_SECONDS):
        return False
    if model.acquire(timeout=_CHECK_SECONDS):
        return True
    slots.release()
    return False


@contextmanager
def _call_once(callback: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """Yield a function that calls `callback` once; leaving the block calls it at the latest."""
    pending = [callback]

    def call() -> None:
        while pending:
            pending.pop()()

    try:
        yield call
    finally:
        call()


def _still_running(running: set[Future[None]]) -> set[Future[None]]:
    """Return the attempts that still run; raise the unhandled exception of one that ended."""
    done_futures = {future for future in running if future.done()}
    for future in done_futures:
        future.result()
    return running - done_futures
