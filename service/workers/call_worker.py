"""A worker that is called with its ticket, as on Modal: one attempt a call, always an answer."""

import tempfile
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import httpx

from service.domain.artifact import BEGUN_SIGN, lone_prefix
from service.domain.attempt import Failure, FailureKind, Outcome, Ticket
from service.domain.call import CallEnd
from service.domain.errors import Lost, StorageFull, Unavailable
from service.domain.ids import JobId
from service.domain.models.card import ModelCard
from service.log import Log
from service.workers.attempt import Warm, attempt, named
from service.workers.probe import probe
from service.workers.readiness import Readiness
from service.workers.recipe import WorkerEnvironment
from service.workers.reporter import CallbackRefused, GivenBack, HttpReporter

log = Log(__name__)


@dataclass
class CallWorker:
    """Keeps its model warm between calls. It raises no Exception, whatever happens: whoever asks
    the call could not tell a builtin TimeoutError from a call that still runs."""

    bench: WorkerEnvironment
    warm: Warm
    # For how long an API that cannot be reached is asked again: every second of it is a GPU's.
    patience: float = 30.0
    # What the platform raises in a call that it cancels; none of it is an Exception.
    interruptions: tuple[type[BaseException], ...] = ()
    # Has the platform give this container no further call, and end it.
    retire: Callable[[], object] = lambda: None
    readiness: Readiness = field(init=False)

    def __post_init__(self) -> None:
        self.readiness = Readiness(lambda: probe(self.bench))

    def load(self, card: ModelCard) -> None:
        """Bring the model to where it runs, ahead of the first call. What fails here fails again
        in a call, where it can be told."""
        try:
            self.warm.load(card)
        except Exception as fault:  # noqa: BLE001
            log.error("model could not be loaded ahead", fault, model=card.name)

    def run(self, told: dict[str, Any], call_id: str) -> dict[str, Any]:
        """Carry out the ticket `told`; answers a CallEnd as plain JSON, or, after a fault of ours,
        what is none, which reads as a call that died."""
        try:
            ticket = Ticket.model_validate(told)
            return self._attempt(ticket, call_id).model_dump(mode="json")
        except (Exception, SystemExit) as fault:  # noqa: BLE001
            log.error("call failed", fault, call=call_id)
            return {"version": 1, "error": "the call failed; its log says why"}

    def _attempt(self, ticket: Ticket, call_id: str) -> CallEnd:
        with httpx.Client(base_url=ticket.api_url, timeout=10, trust_env=False) as client:
            reporter = HttpReporter(
                client, ticket, Event(), call_id=call_id, patience=self.patience
            )
            try:
                prefix, begun = _begin(ticket, reporter, call_id)
                if not begun:
                    _leave_sign(self.bench, prefix, ticket)
                # Unheard, it is silent: an API that is back by then would refuse each heartbeat
                # under the ticket's fence, and so stop the very clip that it is to adopt.
                with reporter if begun else nullcontext():
                    made = attempt(ticket, self.warm, self.bench, reporter, prefix)
                    assert not isinstance(made, GivenBack), "nobody asks it to stop"
                    self._retire_if_unfit(made)
                    if begun:
                        _tell(reporter, made)
            except Lost as lost:
                log.warning("attempt is not ours", **named(ticket), error=lost)
                return _end(ticket, reporter.fence, False, None)
            except self.interruptions:
                log.info("call canceled", **named(ticket))
                with suppress(Lost):
                    reporter.fail(_CANCELED)
                raise
        return _end(ticket, reporter.fence, begun, made)

    def _retire_if_unfit(self, made: Outcome | Failure) -> None:
        """Before the end is told: the job's next call is not to come to this container."""
        self.readiness.note(made)
        if not self.readiness.can_work():
            try:
                self.retire()
            except Exception as fault:  # noqa: BLE001 - the attempt's end is to be told all the same
                log.error("container could not be retired", fault)


_CANCELED = Failure(kind=FailureKind.CANCELED, code="canceled", message="the call was canceled")


def _begin(ticket: Ticket, reporter: HttpReporter, call_id: str) -> tuple[str, bool]:
    """The prefix for the bytes, and whether the API knows that we have begun. Raises Lost."""
    try:
        return reporter.begin(), True
    except CallbackRefused:
        # It may well be ours: go on, and let the answer of this call tell.
        log.warning("the API cannot be reached", **named(ticket), api=ticket.api_url)
        return lone_prefix(JobId(ticket.job_id), ticket.fence, call_id), False


def _leave_sign(bench: WorkerEnvironment, prefix: str, ticket: Ticket) -> None:
    """Tell by the bytes alone that somebody works here: a silent call is not waited for so long."""
    try:
        with tempfile.TemporaryDirectory(dir=bench.scratch) as folder:
            sign = Path(folder, BEGUN_SIGN)
            sign.write_text(ticket.attempt_id)
            bench.artifacts.put(f"{prefix}/{BEGUN_SIGN}", sign, "text/plain")
    except (Unavailable, StorageFull, OSError) as error:
        log.warning("no sign could be left", **named(ticket), error=error)


def _tell(reporter: HttpReporter, made: Outcome | Failure) -> None:
    """An API that does not hear it reads it in the answer of the call."""
    try:
        if isinstance(made, Outcome):
            reporter.finish(made)
        else:
            reporter.fail(made)
    except CallbackRefused as error:
        log.warning("the end was not heard", error=error)


def _end(ticket: Ticket, fence: int, begun: bool, made: Outcome | Failure | None) -> CallEnd:
    return CallEnd(
        job_id=ticket.job_id,
        attempt=ticket.attempt,
        fence=fence,
        begun=begun,
        outcome=made if isinstance(made, Outcome) else None,
        failure=made if isinstance(made, Failure) else None,
    )
