"""The local worker: asks for a ticket, runs it, and keeps its model warm for the next.

While one clip is encoded and kept, the model makes the next: two attempts at a time, one model.
"""

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
from service.log import Log
from service.workers.attempt import Warm, attempt, failure, named
from service.workers.probe import probe
from service.workers.readiness import Readiness
from service.workers.recipe import WorkerEnvironment
from service.workers.reporter import GivenBack, HttpReporter

log = Log(__name__)

_WAIT_SECONDS = 20.0
_AWAY_SECONDS = 1.0
_LOOK_SECONDS = 0.2
_ASIDE_SECONDS = 5.0  # between two looks of a worker that cannot work


@dataclass
class PullWorker:
    """One worker process. `client` knows the API's address and carries the worker token."""

    client: httpx.Client
    name: str
    models: list[str]
    bench: WorkerEnvironment
    warm: Warm
    # Whether the next clip is begun while the last one is still encoded.
    overlap: bool = True
    stopping: threading.Event = field(default_factory=threading.Event)
    readiness: Readiness = field(init=False)
    asking: bool = False  # in a long poll, with nothing to lose by leaving it
    _away: bool = False

    def __post_init__(self) -> None:
        self.readiness = Readiness(lambda: probe(self.bench))

    def work(self) -> None:
        """Until told to stop. Raises Unauthenticated when the API does not know this worker, and
        RequestRefused when it cannot make use of it."""
        most = 2 if self.overlap else 1
        places, model = threading.Semaphore(most), threading.Semaphore(1)
        running: set[Future[None]] = set()
        # Leaving it waits for the attempts, which give up by themselves once we are stopping.
        with ThreadPoolExecutor(most, thread_name_prefix="attempt") as threads:
            while not self.stopping.is_set():
                running = _without_faults(running)
                # Work is asked for only when it can begin at once: another worker may be free.
                if not _acquired(places, model):
                    continue
                ticket = self._next_ticket()
                if ticket is None:
                    model.release()
                    places.release()
                    continue
                before = frozenset() if self._beside_others(ticket) else frozenset(running)
                running.add(threads.submit(self._carry_out, ticket, before, places, model))
        _without_faults(running)

    def _beside_others(self, ticket: Ticket) -> bool:
        """What is tried again runs alone: it may be what took its worker down, and is to take no
        other clip along. So does another model's first clip: two do not share a GPU well, and the
        clip that is still encoded holds the one before."""
        warm = self.warm.kept
        return _first(ticket) and (warm is None or warm[0] == ticket.card)

    def _next_ticket(self) -> Ticket | None:
        if self.readiness.can_work():
            return self._ask()
        self._stand_aside()
        return None

    def _ask(self) -> Ticket | None:
        """One long poll; None when there is no work, nobody to ask, or we are to stop."""
        self.asking = True
        try:
            # Looked at once the signal's handler would leave the poll: an attempt that was given
            # back a moment ago is not to be ours again.
            ticket = None if self.stopping.is_set() else self._claim()
        except httpx.HTTPError as error:
            (log.debug if self._away else log.warning)("the API gives no work", error=error)
            self._away = True
            self.stopping.wait(_AWAY_SECONDS)
            return None
        finally:
            self.asking = False
        self._away = False
        return ticket

    def _stand_aside(self) -> None:
        """Say why no work is asked for, and let some time pass."""
        body = {"worker": self.name, "models": self.models, "reason": self.readiness.reason}
        try:
            self.client.post("/internal/unfit", json=body).raise_for_status()
        except httpx.HTTPError as error:
            log.debug("the API was not told why this worker takes no jobs", error=error)
        self.stopping.wait(_ASIDE_SECONDS)

    def _carry_out(
        self,
        ticket: Ticket,
        before: frozenset[Future[None]],
        places: threading.Semaphore,
        model: threading.Semaphore,
    ) -> None:
        """Once those `before` it have ended."""
        with _once(model.release) as hand_on:
            try:
                self._run(ticket, before, hand_on)
            finally:
                places.release()

    def _claim(self) -> Ticket | None:
        card, adapter = self.warm.kept or (None, None)
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
        return None if answer.status_code == 204 else Ticket.model_validate_json(answer.content)

    def _run(
        self, ticket: Ticket, before: frozenset[Future[None]], hand_on: Callable[[], None]
    ) -> None:
        log.info("attempt begins", **named(ticket))
        reporter = HttpReporter(self.client, ticket, self.stopping)
        try:
            prefix = reporter.begin()
            # It has begun while it waits: a start that nobody makes good would lapse.
            with reporter:
                made = _waited(before, reporter) or attempt(
                    ticket,
                    self.warm,
                    self.bench,
                    reporter,
                    prefix,
                    hand_on if self.overlap and _first(ticket) else None,
                )
                self.readiness.note(made)
                self._tell(ticket, reporter, made)
        except Lost as lost:
            log.warning("attempt is lost", **named(ticket), error=lost)

    def _tell(
        self, ticket: Ticket, reporter: HttpReporter, made: Outcome | Failure | GivenBack
    ) -> None:
        if isinstance(made, GivenBack):
            log.info("attempt given back", **named(ticket))
            reporter.release(made)
        elif isinstance(made, Failure):
            reporter.fail(made)
        else:
            failpoint("worker.kept")
            reporter.finish(made)
            log.info("attempt finished", **named(ticket))


def _waited(before: frozenset[Future[None]], reporter: HttpReporter) -> Failure | GivenBack | None:
    """None once they have ended; else what ends this attempt meanwhile. Raises Lost."""
    try:
        while wait(before, timeout=_LOOK_SECONDS).not_done:
            reporter.step(Stage.PREPROCESS, 0, 1)
    except WorkerStopping:
        return GivenBack()
    except AttemptFailed as stopped:
        return failure(stopped, reporter.stage, GivenBack())
    return None


def _first(ticket: Ticket) -> bool:
    return ticket.attempt == 1


def _acquired(places: threading.Semaphore, model: threading.Semaphore) -> bool:
    """Both or none; it waits only so long that the caller can look around."""
    if not places.acquire(timeout=_LOOK_SECONDS):
        return False
    if model.acquire(timeout=_LOOK_SECONDS):
        return True
    places.release()
    return False


@contextmanager
def _once(act: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """What is yielded does it the first time that it is called; the end does it at the latest."""
    left = [act]

    def do() -> None:
        while left:
            left.pop()()

    try:
        yield do
    finally:
        do()


def _without_faults(running: set[Future[None]]) -> set[Future[None]]:
    """Those that still run. Raises what one of the others could not handle: this worker is not to
    go on as if nothing had been."""
    over = {future for future in running if future.done()}
    for future in over:
        future.result()
    return running - over
