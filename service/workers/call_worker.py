"""The worker that is called with a ticket, as on Modal: one attempt per call."""

import logging
import tempfile
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from service.domain.attempt import BEGUN_SIGN, Failure, FailureKind, Outcome, Ticket, lone_prefix
from service.domain.call import CallEnd
from service.domain.errors import Lost, StorageFull, Unavailable
from service.domain.ids import JobId
from service.domain.models.card import ModelCard
from service.workers.attempt import ModelCache, log_fields, run_attempt
from service.workers.probe import probe
from service.workers.readiness import Readiness
from service.workers.recipe import WorkerEnvironment
from service.workers.reporter import ApiUnreachable, AttemptReleased, HttpReporter, StopFlag

log = logging.getLogger(__name__)


@dataclass
class CallWorker:
    """Keeps its model loaded between calls, and raises no Exception: the caller could not tell a
    builtin TimeoutError from a call that is still running."""

    environment: WorkerEnvironment
    model_cache: ModelCache
    # Seconds to retry callbacks to an unreachable API; the GPU is billed meanwhile.
    retry_seconds: float = 30.0
    # The BaseExceptions that the platform raises in a call that it cancels.
    interruptions: tuple[type[BaseException], ...] = ()
    # Makes the platform end this container after the running call.
    retire: Callable[[], object] = lambda: None
    readiness: Readiness = field(init=False)

    def __post_init__(self) -> None:
        self.readiness = Readiness(lambda: probe(self.environment))

    def load(self, card: ModelCard) -> None:
        """Load the model before the first call. A failure is only logged: the call reports it."""
        try:
            self.model_cache.load(card)
        except Exception as fault:
            log.error("model could not be preloaded", exc_info=fault, extra={"model": card.name})

    def run(self, ticket_json: dict[str, Any], call_id: str) -> dict[str, Any]:
        """Run a ticket; return a CallEnd as JSON, or after a bug an object that is none, which
        counts as a crashed call."""
        try:
            ticket = Ticket.model_validate(ticket_json)
            return self._run(ticket, call_id).model_dump(mode="json")
        except (Exception, SystemExit) as fault:
            log.error("call failed", exc_info=fault, extra={"call": call_id})
            return {"version": 1, "error": "the call failed; its log says why"}

    def _run(self, ticket: Ticket, call_id: str) -> CallEnd:
        with httpx.Client(base_url=ticket.api_url, timeout=10, trust_env=False) as client:
            reporter = HttpReporter(
                client, ticket, StopFlag(), call_id=call_id, retry_seconds=self.retry_seconds
            )
            try:
                prefix, has_begun = _begin(ticket, reporter, call_id)
                if not has_begun:
                    _put_begin_marker(self.environment, prefix, ticket)
                # Without begin it sends no heartbeats: an API that is back by then would refuse
                # them under the ticket's fencing token, and end the attempt that it can adopt.
                with reporter if has_begun else nullcontext():
                    result = run_attempt(
                        ticket, self.model_cache, self.environment, reporter, prefix
                    )
                    assert not isinstance(result, AttemptReleased), "it is never told to stop"
                    self._retire_if_unfit(result)
                    if has_begun:
                        _report(reporter, result)
            except Lost as error:
                log.warning("attempt is lost", extra={**log_fields(ticket), "error": error})
                return _call_end(ticket, reporter.fence, False, None)
            except self.interruptions:
                log.info("call canceled", extra=log_fields(ticket))
                with suppress(Lost):
                    reporter.fail(_CANCELED)
                raise
        return _call_end(ticket, reporter.fence, has_begun, result)

    def _retire_if_unfit(self, result: Outcome | Failure) -> None:
        """Retire before reporting, so that the job's next call goes to another container."""
        self.readiness.record(result)
        if not self.readiness.can_work():
            try:
                self.retire()
            except Exception as fault:  # the attempt's result is still reported
                log.error("container could not be retired", exc_info=fault)


_CANCELED = Failure(kind=FailureKind.CANCELED, code="canceled", message="the call was canceled")


def _begin(ticket: Ticket, reporter: HttpReporter, call_id: str) -> tuple[str, bool]:
    """Return the artifact prefix, and False if the API could not be told. Raises Lost."""
    try:
        return reporter.begin(), True
    except ApiUnreachable:
        # The attempt may still be valid: run it, and return the result from the call.
        log.warning(
            "the API cannot be reached", extra={**log_fields(ticket), "api": ticket.api_url}
        )
        return lone_prefix(JobId(ticket.job_id), ticket.fence, call_id), False


def _put_begin_marker(environment: WorkerEnvironment, prefix: str, ticket: Ticket) -> None:
    """Put an artifact that shows that the attempt has begun: silent calls are given up sooner."""
    try:
        with tempfile.TemporaryDirectory(dir=environment.scratch) as folder:
            marker = Path(folder, BEGUN_SIGN)
            marker.write_text(ticket.attempt_id)
            environment.artifacts.put(f"{prefix}/{BEGUN_SIGN}", marker, "text/plain")
    except (Unavailable, StorageFull, OSError) as error:
        log.warning(
            "begin marker could not be stored", extra={**log_fields(ticket), "error": error}
        )


def _report(reporter: HttpReporter, result: Outcome | Failure) -> None:
    """Report the result; an unreachable API reads it from the call's return value."""
    try:
        if isinstance(result, Outcome):
            reporter.finish(result)
        else:
            reporter.fail(result)
    except ApiUnreachable as error:
        log.warning("the result could not be reported", extra={"error": error})


def _call_end(
    ticket: Ticket, fence: int, has_begun: bool, result: Outcome | Failure | None
) -> CallEnd:
    return CallEnd(
        job_id=ticket.job_id,
        attempt=ticket.attempt,
        fence=fence,
        begun=has_begun,
        outcome=result if isinstance(result, Outcome) else None,
        failure=result if isinstance(result, Failure) else None,
    )
