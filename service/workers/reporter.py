"""A worker's side of the protocol: begin, progress, finish, fail and release over HTTP."""

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
from service.log import Log
from service.stdio import drain

log = Log(__name__)

_NEWS_SECONDS = 0.25  # progress is told at most this often
_HEARTBEATS_A_LEASE = 6  # and at least this often: five of them may go astray
_GIVE_UP_SECONDS = 15 * 60.0  # how long begin, finish and fail are tried while the API is away
_STUCK_SECONDS = 10.0  # a step that ignores `lost` for this long hangs in native code

# Where each stage lies within the whole attempt.
_SPANS: dict[Stage, tuple[float, float]] = {
    Stage.PREPROCESS: (0.0, 0.01),
    Stage.LOAD: (0.01, 0.06),
    Stage.GENERATE: (0.06, 0.86),
    Stage.DECODE: (0.86, 0.9),
    Stage.ENCODE: (0.9, 0.97),
    Stage.UPLOAD: (0.97, 0.99),
}


@dataclass(frozen=True)
class GivenBack:
    """What was spent on an attempt that its worker gives back; None where nobody knows."""

    gpu: str | None = None
    gpu_seconds: float | None = None


class CallbackRefused(Lost):
    """The API could not be reached: whether the attempt is ours is not known."""


class HttpReporter:
    """Speaks for one attempt. Within `with`, a thread of its own keeps the lease alive.

    That thread is also where a wish to cancel arrives; `step` raises it in the thread that
    generates, at its next step. Once the attempt's end is being told, the thread is silent.
    """

    def __init__(
        self,
        client: httpx.Client,
        ticket: Ticket,
        stopping: threading.Event,
        *,
        call_id: str | None = None,
        patience: float = _GIVE_UP_SECONDS,
    ) -> None:
        """`call_id` names this start of a worker; `patience` is for how many seconds begin, finish
        and the like are tried while the API is away."""
        self._client = client
        self._ticket = ticket
        self._stopping = stopping
        self._call_id = call_id or f"local:{os.getpid()}:{uuid.uuid4().hex}"
        self._patience = patience
        self._fence = ticket.fence
        self._heartbeat_seconds = 1.0
        self._news = threading.Condition()
        self._progress = Progress(stage=Stage.PREPROCESS, fraction=0.0)
        self._ending = False
        self._has_model = True
        self._stop: Exception | None = None
        self._thread = threading.Thread(target=self._keep_telling, name="reporter", daemon=True)

    def begin(self) -> str:
        """Take the attempt; answers the prefix for its artifacts. Raises Lost, and its kind
        Unheard when the API could not be reached."""
        begun = self._repeat_cancels("begin", {"call_id": self._call_id})
        self._fence = begun["fence"]
        self._heartbeat_seconds = begun["lease_seconds"] / _HEARTBEATS_A_LEASE
        return str(begun["artifact_prefix"])

    def step(self, stage: Stage, done: int, of: int) -> None:
        """Note where the attempt stands; raises whatever there is that tells it to stop."""
        if self._stop is not None:
            raise self._stop
        if self._stopping.is_set():
            raise WorkerStopping
        low, high = _SPANS[stage]
        detail = f"step {done} of {of}" if of > 1 else None
        fraction = low + (high - low) * min(1.0, done / max(1, of))
        with self._news:
            self._progress = Progress(stage=stage, fraction=fraction, detail=detail)
            self._news.notify()

    @property
    def fence(self) -> int:
        """The ticket's, and from `begin` on the running one."""
        return self._fence

    @property
    def stage(self) -> Stage:
        return self._progress.stage

    def finish(self, outcome: Outcome) -> None:
        self._end("finish", outcome=outcome.model_dump(mode="json"))

    def fail(self, failure: Failure) -> None:
        self._end("fail", failure=failure.model_dump(mode="json"))

    def release(self, spent: GivenBack | None = None) -> None:
        self._end("release", **asdict(spent or GivenBack()))

    def let_model_go(self) -> None:
        """From here on no step can hang in native code for good: an attempt that is lost ends by
        itself, and takes no other down that has the model by then."""
        with self._news:
            self._has_model = False
            self._news.notify()

    def __enter__(self) -> "HttpReporter":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._fall_silent()
        self._thread.join()

    def _end(self, act: str, **values: Any) -> None:
        """The last word. From here on a fence that has moved means no more than that we ended."""
        self._fall_silent()
        self._repeat_cancels(act, self._fenced(**values))

    def _fall_silent(self) -> None:
        with self._news:
            self._ending = True
            self._news.notify()

    def _keep_telling(self) -> None:
        told: Progress | None = None
        while self._wait_for_news(told):
            now = self._progress
            try:
                answer = self._post("progress", self._fenced(progress=now.model_dump(mode="json")))
            except Lost as lost:
                self._stop = lost
                self._leave_if_stuck()
                return
            except httpx.HTTPError as error:
                log.warning("progress was not heard", job=self._ticket.job_id, error=error)
            else:
                told = now
                if answer["cancel_requested"]:
                    self._stop = _CANCELED
            self._pause()

    def _wait_for_news(self, told: Progress | None) -> bool:
        """Sleep until there is something to tell or a heartbeat is due; False at the end."""
        with self._news:
            self._news.wait_for(
                lambda: self._ending or self._progress != told, timeout=self._heartbeat_seconds
            )
            return not self._ending

    def _pause(self) -> None:
        with self._news:
            self._news.wait_for(lambda: self._ending, timeout=_NEWS_SECONDS)

    def _leave_if_stuck(self) -> None:
        """The job is another's now. A step of the model that cannot be interrupted dies with its
        process."""
        with self._news:
            if not self._news.wait_for(
                lambda: self._ending or not self._has_model, timeout=_STUCK_SECONDS
            ):
                log.error(
                    "job is lost and its step cannot be stopped; leaving", job=self._ticket.job_id
                )
                drain()
                os._exit(70)

    def _fenced(self, **values: Any) -> dict[str, Any]:
        return {"fence": self._fence, **values}

    def _repeat_cancels(self, act: str, body: dict[str, Any]) -> dict[str, Any]:
        """Post until it is answered: each of these acts may be told twice without harm."""
        deadline = time.monotonic() + self._patience
        wait = 0.1
        while True:
            try:
                return self._post(act, body)
            except httpx.HTTPError as error:
                log.warning(
                    "report was not heard; trying again",
                    job=self._ticket.job_id,
                    report=act,
                    error=error,
                )
                if self._stopping.wait(wait) or time.monotonic() > deadline:
                    raise CallbackRefused("the API did not answer in time") from error
            wait = min(wait * 2, 5.0)

    def _post(self, act: str, body: dict[str, Any]) -> dict[str, Any]:
        """Raises Lost when the API refuses, httpx.HTTPError when it did not answer properly."""
        answer = self._client.post(
            f"/internal/attempts/{self._ticket.attempt_id}/{act}",
            json=body,
            headers={"Authorization": f"Bearer {self._ticket.token}"},
        )
        if _refused(answer):
            raise Lost(f"{act} was refused: {answer.text[:200]}")
        answer.raise_for_status()
        found = _object(answer)
        if not found.keys() >= _ANSWERED[act]:
            raise httpx.DecodingError("not the API's answer", request=answer.request)
        return found


# What the API answers to each act. Whatever lacks it stands where the API should be: a proxy's
# page, another service at an old address.
_ANSWERED = {
    "begin": {"fence", "artifact_prefix", "lease_seconds"},
    "progress": {"cancel_requested"},
    "finish": {"status"},
    "fail": {"status"},
    "release": {"status"},
}


def _refused(answer: httpx.Response) -> bool:
    """Whether the API itself said no. A front door that has no such host, or wants a login, says
    401 or 404 too; that is not a word about the attempt."""
    problem = answer.headers.get("content-type", "").startswith("application/problem+json")
    return answer.status_code in (401, 404, 409, 422) and problem and "code" in _object(answer)


def _object(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


_CANCELED = AttemptFailed(FailureKind.CANCELED, "canceled", "canceled on request")
