"""The local worker: asks for a ticket, runs it, and keeps its model warm for the next."""

import threading
from dataclasses import dataclass, field

import httpx

from service.domain.attempt import Failure, Ticket, WorkerStopping
from service.domain.errors import (
    FieldError,
    Lost,
    RequestRefused,
    Unauthenticated,
)
from service.domain.failpoint import failpoint
from service.log import Log
from service.workers.attempt import Warm, attempt, named
from service.workers.reporter import HttpReporter
from service.workers.run import Bench

log = Log(__name__)

_WAIT_SECONDS = 20.0
_AWAY_SECONDS = 1.0


@dataclass
class Puller:
    """One worker process. `client` knows the API's address and carries the worker token."""

    client: httpx.Client
    name: str
    models: list[str]
    bench: Bench
    warm: Warm
    stopping: threading.Event = field(default_factory=threading.Event)
    idle: bool = True

    def work(self) -> None:
        """Until told to stop. Raises Unauthenticated when the API does not know this worker, and
        RequestRefused when it cannot make use of it."""
        away = False
        while not self.stopping.is_set():
            try:
                ticket = self._claim()
            except httpx.HTTPError as error:
                (log.debug if away else log.warning)("the API gives no work", error=error)
                away = True
                self.stopping.wait(_AWAY_SECONDS)
                continue
            away = False
            if ticket is not None:
                self.idle = False
                self._run(ticket)
                self.idle = True

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

    def _run(self, ticket: Ticket) -> None:
        log.info("attempt begins", **named(ticket))
        reporter = HttpReporter(self.client, ticket, self.stopping)
        try:
            prefix = reporter.begin()
            with reporter:
                self._attempt(ticket, reporter, prefix)
        except Lost as lost:
            log.warning("attempt is lost", **named(ticket), error=lost)

    def _attempt(self, ticket: Ticket, reporter: HttpReporter, prefix: str) -> None:
        try:
            made = attempt(ticket, self.warm, self.bench, reporter, prefix)
        except WorkerStopping:
            log.info("attempt given back", **named(ticket))
            reporter.release()
            return
        if isinstance(made, Failure):
            reporter.fail(made)
            return
        failpoint("worker.kept")
        reporter.finish(made)
        log.info("attempt finished", **named(ticket))
