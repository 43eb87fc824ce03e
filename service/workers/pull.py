"""The local worker: asks for a ticket, runs it, and keeps its model warm for the next."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from service.domain.attempt import AttemptFailed, Failure, FailureKind, Ticket, WorkerStopping
from service.domain.card import ModelCard
from service.domain.errors import (
    FieldError,
    Lost,
    RequestRefused,
    StorageFull,
    Unauthenticated,
    Unavailable,
)
from service.domain.failpoint import failpoint
from service.log import Log
from service.workers.adapters.base import Adapter
from service.workers.reporter import HttpReporter
from service.workers.run import Bench, make_video

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
    make_adapter: Callable[[ModelCard], Adapter]
    stopping: threading.Event = field(default_factory=threading.Event)
    idle: bool = True
    _warm: tuple[ModelCard, Adapter] | None = None

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
        card, adapter = self._warm or (None, None)
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
        log.info("attempt begins", **_named(ticket))
        reporter = HttpReporter(self.client, ticket, self.stopping)
        try:
            prefix = reporter.begin()
            with reporter:
                self._attempt(ticket, reporter, prefix)
        except Lost as lost:
            log.warning("attempt is lost", **_named(ticket), error=lost)

    def _attempt(self, ticket: Ticket, reporter: HttpReporter, prefix: str) -> None:
        try:
            adapter = self._adapter(ticket.card)
            outcome = make_video(ticket, adapter, self.bench, prefix, reporter.step)
        except AttemptFailed as failed:
            log.info("attempt failed", **_named(ticket), kind=failed.kind, code=failed.code)
            reporter.fail(_failure(failed, reporter))
        except WorkerStopping:
            log.info("attempt given back", **_named(ticket))
            reporter.release()
        except Lost:
            raise
        except (Unavailable, StorageFull) as error:
            log.warning("clip could not be kept", **_named(ticket), error=error)
            reporter.fail(_failure(_NOT_KEPT, reporter))
        except Exception as fault:  # noqa: BLE001
            log.error("attempt failed", fault, **_named(ticket))
            reporter.fail(_failure(_UNPLANNED, reporter))
        else:
            failpoint("worker.kept")
            reporter.finish(outcome)
            log.info("attempt finished", **_named(ticket))

    def _adapter(self, card: ModelCard) -> Adapter:
        """The adapter of `card`; one model is kept, for two do not share a GPU well."""
        if self._warm is None or self._warm[0] != card:
            self._warm = None
            self._warm = (card, self.make_adapter(card))
        return self._warm[1]


_NOT_KEPT = AttemptFailed(
    FailureKind.TRANSIENT, "storage_unavailable", "the video could not be kept just then"
)
_UNPLANNED = AttemptFailed(
    FailureKind.INTERNAL, "worker_error", "the worker failed; its log says why"
)


def _named(ticket: Ticket) -> dict[str, Any]:
    return {"job": ticket.job_id, "attempt": ticket.attempt}


def _failure(failed: AttemptFailed, reporter: HttpReporter) -> Failure:
    return Failure(
        kind=failed.kind,
        code=failed.code,
        message=failed.message[:2000],
        stage=reporter.stage,
    )
