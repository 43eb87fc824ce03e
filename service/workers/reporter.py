"""The worker's callbacks to the API: begin, progress, finish, fail and release over HTTP."""

import logging
import os
import threading
import time
import uuid
from dataclasses import asdict, dataclass
from typing import Any

import httpx

from service.domain.attempt import (
    AttemptFailed,
    Failure,
    FailureKind,
    Outcome,
    Progress,
    Stage,
    Ticket,
    WorkerStopping,
)
from service.domain.errors import Lost
from service.stdio import drain

log = logging.getLogger(__name__)

_MIN_REPORT_SECONDS = 0.25  # progress is reported at most this often
_HEARTBEATS_PER_LEASE = 6  # and at least this often: five of them may be lost
_RETRY_SECONDS = 15 * 60.0  # how long begin, finish and fail are retried while the API is down
_LOOK_SECONDS = 0.1  # how often a wait looks at its flag
_STUCK_SECONDS = 10.0  # a step that ignores `lost` for this long hangs in native code

# The range of progress, 0 to 1, of each stage.
_SPANS: dict[Stage, tuple[float, float]] = {
    Stage.PREPROCESS: (0.0, 0.01),
    Stage.LOAD: (0.01, 0.06),
    Stage.GENERATE: (0.06, 0.86),
    Stage.DECODE: (0.86, 0.9),
    Stage.ENCODE: (0.9, 0.97),
    Stage.UPLOAD: (0.97, 0.99),
}


@dataclass(frozen=True)
class AttemptReleased:
    """The GPU usage of an attempt that its worker releases; None where it is unknown."""

    gpu: str | None = None
    gpu_seconds: float | None = None


class StopFlag:
    """A flag that a signal handler may set. To set a `threading.Event` there can lock up the main
    thread: the signal may interrupt it within `wait`, which holds the lock that `set` needs."""

    def __init__(self) -> None:
        self._is_set = False

    def set(self) -> None:
        self._is_set = True

    def is_set(self) -> bool:
        return self._is_set

    def wait(self, seconds: float) -> bool:
        """Sleep until the flag is set, or for so long. Return whether it is set."""
        end = time.monotonic() + seconds
        while not self._is_set and (remaining := end - time.monotonic()) > 0:
            time.sleep(min(remaining, _LOOK_SECONDS))
        return self._is_set


class ApiUnreachable(Lost):
    """The API did not answer a callback in time: the fencing token may or may not be stale."""


class HttpReporter:
    """Reports one attempt. Inside `with`, a heartbeat thread keeps the lease alive.

    That thread also receives cancellations, which `step` raises in the generating thread at its
    next step. It stops before the attempt's end is reported.
    """

    def __init__(
        self,
        client: httpx.Client,
        ticket: Ticket,
        stopping: StopFlag,
        *,
        call_id: str | None = None,
        retry_seconds: float = _RETRY_SECONDS,
    ) -> None:
        """`call_id` identifies this start of a worker; begin, finish, fail and release are retried
        for `retry_seconds` while the API is unreachable."""
        self._client = client
        self._ticket = ticket
        self._stopping = stopping
        self._call_id = call_id or f"local:{os.getpid()}:{uuid.uuid4().hex}"
        self._retry_seconds = retry_seconds
        self._fence = ticket.fence
        self._heartbeat_seconds = 1.0
        self._changed = threading.Condition()
        self._progress = Progress(stage=Stage.PREPROCESS, fraction=0.0)
        self._is_ending = False
        self._has_model = True
        self._stop: Exception | None = None
        self._thread = threading.Thread(target=self._send_heartbeats, name="reporter", daemon=True)

    def begin(self) -> str:
        """Begin the attempt and return its artifact prefix. Raises Lost on a stale fencing token,
        and its subclass ApiUnreachable when the API does not answer."""
        answer = self._post_with_retries("begin", {"call_id": self._call_id})
        self._fence = answer["fence"]
        self._heartbeat_seconds = answer["lease_seconds"] / _HEARTBEATS_PER_LEASE
        return str(answer["artifact_prefix"])

    def step(self, stage: Stage, step: int, total: int) -> None:
        """Record progress. Raises Lost, AttemptFailed on cancellation, or WorkerStopping."""
        if self._stop is not None:
            raise self._stop
        if self._stopping.is_set():
            raise WorkerStopping
        low, high = _SPANS[stage]
        detail = f"step {step} of {total}" if total > 1 else None
        fraction = low + (high - low) * min(1.0, step / max(1, total))
        with self._changed:
            self._progress = Progress(stage=stage, fraction=fraction, detail=detail)
            self._changed.notify()

    @property
    def fence(self) -> int:
        """The fencing token: the ticket's, and after `begin` the one of the running attempt."""
        return self._fence

    @property
    def stage(self) -> Stage:
        return self._progress.stage

    def finish(self, outcome: Outcome) -> None:
        self._end("finish", outcome=outcome.model_dump(mode="json"))

    def fail(self, failure: Failure) -> None:
        self._end("fail", failure=failure.model_dump(mode="json"))

    def release(self, usage: AttemptReleased | None = None) -> None:
        self._end("release", **asdict(usage or AttemptReleased()))

    def release_model(self) -> None:
        """Note that the model is no longer used: no step can hang in native code any more, so a
        lost attempt ends without exiting the process, which may run another by now."""
        with self._changed:
            self._has_model = False
            self._changed.notify()

    def __enter__(self) -> "HttpReporter":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_heartbeats()
        self._thread.join()

    def _end(self, action: str, **values: Any) -> None:
        """Report the end; heartbeats stop first, as they would find a stale fencing token."""
        self._stop_heartbeats()
        self._post_with_retries(action, self._with_fence(**values))

    def _stop_heartbeats(self) -> None:
        with self._changed:
            self._is_ending = True
            self._changed.notify()

    def _send_heartbeats(self) -> None:
        last: Progress | None = None
        while self._wait_for_progress(last):
            progress = self._progress
            body = self._with_fence(progress=progress.model_dump(mode="json"))
            try:
                answer = self._post("progress", body)
            except Lost as error:
                self._stop = error
                self._exit_if_stuck()
                return
            except httpx.HTTPError as error:
                log.warning(
                    "progress could not be reported",
                    extra={"job": self._ticket.job_id, "error": error},
                )
            else:
                last = progress
                if answer["cancel_requested"]:
                    self._stop = _CANCELED
            self._pause()

    def _wait_for_progress(self, last: Progress | None) -> bool:
        """Wait for new progress or until a heartbeat is due; return False at the end."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_ending or self._progress != last, timeout=self._heartbeat_seconds
            )
            return not self._is_ending

    def _pause(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._is_ending, timeout=_MIN_REPORT_SECONDS)

    def _exit_if_stuck(self) -> None:
        """Exit the process if a step of a lost attempt hangs in native code."""
        with self._changed:
            if not self._changed.wait_for(
                lambda: self._is_ending or not self._has_model, timeout=_STUCK_SECONDS
            ):
                log.error(
                    "attempt is lost and its step cannot be interrupted; exiting",
                    extra={"job": self._ticket.job_id},
                )
                drain()
                os._exit(70)

    def _with_fence(self, **values: Any) -> dict[str, Any]:
        return {"fence": self._fence, **values}

    def _post_with_retries(self, action: str, body: dict[str, Any]) -> dict[str, Any]:
        """Post with backoff until answered; each of these actions is idempotent."""
        deadline = time.monotonic() + self._retry_seconds
        wait = 0.1
        while True:
            try:
                return self._post(action, body)
            except httpx.HTTPError as error:
                log.warning(
                    "callback failed; retrying",
                    extra={"job": self._ticket.job_id, "callback": action, "error": error},
                )
                if self._stopping.wait(wait) or time.monotonic() > deadline:
                    raise ApiUnreachable("the API did not answer in time") from error
            wait = min(wait * 2, 5.0)

    def _post(self, action: str, body: dict[str, Any]) -> dict[str, Any]:
        """Raises Lost when the API refuses, httpx.HTTPError without a valid response."""
        response = self._client.post(
            f"/internal/attempts/{self._ticket.attempt_id}/{action}",
            json=body,
            headers={"Authorization": f"Bearer {self._ticket.token}"},
        )
        if _is_refusal(response):
            raise Lost(f"{action} was refused: {response.text[:200]}")
        response.raise_for_status()
        answer = _json_object(response)
        if not answer.keys() >= _RESPONSE_KEYS[action]:
            raise httpx.DecodingError("not a response of the API", request=response.request)
        return answer


# Keys of the API's response to each callback. A response without them is not the API's: a proxy's
# page, or another service at an old address.
_RESPONSE_KEYS = {
    "begin": {"fence", "artifact_prefix", "lease_seconds"},
    "progress": {"cancel_requested"},
    "finish": {"status"},
    "fail": {"status"},
    "release": {"status"},
}


def _is_refusal(response: httpx.Response) -> bool:
    """Check that the API itself refused: a proxy answers 401 or 404 too, but without a problem."""
    is_problem = response.headers.get("content-type", "").startswith("application/problem+json")
    return (
        response.status_code in (401, 404, 409, 422)
        and is_problem
        and "code" in _json_object(response)
    )


def _json_object(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


_CANCELED = AttemptFailed(FailureKind.CANCELED, "canceled", "canceled on request")
