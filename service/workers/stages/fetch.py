"""Get the inputs of a job as files, from the artifact store or from their URLs."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from service.domain.attempt import ArtifactStore, AttemptFailed, FailureKind, input_key
from service.domain.ids import JobId
from service.domain.media import Role, rule_of
from service.egress.client import Egress, Rules, TargetFailed, TargetRefused

if TYPE_CHECKING:
    from service.workers.stages.encode_ahead import (
        CheckCancel,  # imports numpy, which the API does not need
    )

_MAX_SECONDS = 60.0  # over all tries: meanwhile a GPU waits, and on Modal it is billed
# Retried: an overloaded server, or one that restarts.
_RETRY_STATUSES = frozenset({408, 425, 429, *range(500, 600)})
_RETRY_REASONS = frozenset({"timeout", "resolver", "connect"})
_BACKOFF_SECONDS = (0.5, 2.0, 5.0)
_CHECK_SECONDS = 0.5  # between checks for cancellation during a backoff


@dataclass(frozen=True)
class Sources:
    """The egress client for URLs, and the size limits of inputs."""

    egress: Egress = field(default_factory=lambda: Egress(Rules()))
    max_image_bytes: int = 20_000_000
    max_video_bytes: int = 100_000_000
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def max_bytes(self, role: Role) -> int:
        is_image = rule_of(role).kind == "image"
        return self.max_image_bytes if is_image else self.max_video_bytes


def stored_input(role: Role, job_id: JobId, artifacts: ArtifactStore) -> Path:
    """Return the file of an input in the artifact store; it must not be modified.

    Raises AttemptFailed (`input_gone`); Unavailable passes through.
    """
    path = artifacts.path(input_key(job_id, role))
    if path is None:
        message = f"the input {role} of this job no longer exists"
        raise AttemptFailed(FailureKind.INTERNAL, "input_gone", message, of_model=False)
    return path


def fetch(url: str, role: Role, sources: Sources, into: Path, check_cancel: "CheckCancel") -> None:
    """Download `url` to a file, retrying transient failures with backoff for up to a minute.

    An exception of `check_cancel` ends the wait. Raises AttemptFailed: `url_refused` (the egress
    rules forbid the URL or a redirect, and no socket was opened to it), `url_failed`,
    `url_too_large` (all of kind user), or `url_unavailable` (transient: no listener, a timeout, a
    broken connection, an unavailable resolver, or a server error).
    """
    end = sources.clock() + _MAX_SECONDS
    max_bytes = sources.max_bytes(role)
    for tries, pause in enumerate((*_BACKOFF_SECONDS, None), start=1):
        timeout = timedelta(seconds=end - sources.clock())
        try:
            sources.egress.fetch(url, into=into, max_bytes=max_bytes, timeout=timeout)
            return
        except TargetRefused as error:
            message = f"the URL of {role} is not allowed: {error.reason}"
            raise _user_failure("url_refused", message) from None
        except TargetFailed as error:
            is_last = pause is None or sources.clock() + pause >= end
            if is_last or not _is_transient(error):
                raise _to_failure(error, role, tries) from None
        assert pause is not None, "the last try returns or raises"
        _wait(pause, sources, check_cancel)


def _wait(seconds: float, sources: Sources, check_cancel: "CheckCancel") -> None:
    for _ in range(round(seconds / _CHECK_SECONDS)):
        check_cancel()
        sources.sleep(_CHECK_SECONDS)
    check_cancel()


def _is_transient(error: TargetFailed) -> bool:
    return error.reason in _RETRY_REASONS or error.status in _RETRY_STATUSES or error.broke_off


def _to_failure(error: TargetFailed, role: Role, tries: int) -> AttemptFailed:
    """Build the failure that the job's owner reads, without any text from the remote server."""
    if _is_transient(error):
        often = "once" if tries == 1 else f"{tries} times"
        message = f"the URL of {role} {_reason(error)}; it was tried {often}"
        return AttemptFailed(FailureKind.TRANSIENT, "url_unavailable", message)
    if error.reason == "too_large":
        return _user_failure("url_too_large", f"the file at the URL of {role} is too large")
    return _user_failure("url_failed", f"the URL of {role} {_reason(error)}")


def _reason(error: TargetFailed) -> str:
    if error.status is not None:
        return f"answers {error.status}"
    if error.broke_off:
        return "has a server that closed the connection early"
    return {
        "timeout": f"was not fetched within {_MAX_SECONDS:.0f} s",
        "resolver": "has a host that cannot be resolved now",
        "dns": "has a host that is not found",
        "connect": "has a host that refuses connections",
        "tls": "has a host without a trusted certificate for its name",
        "redirects": "is redirected more than five times",
    }.get(error.reason, "is not served by a web server")


def _user_failure(code: str, message: str) -> AttemptFailed:
    return AttemptFailed(FailureKind.USER, code, message)
