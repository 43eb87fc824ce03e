"""Brings what a job begins with to a file: from where it is kept, or from its URL."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from service.domain.artifact import input_key
from service.domain.attempt import AttemptFailed, FailureKind
from service.domain.ids import JobId
from service.domain.media import Role
from service.domain.ports import ArtifactStore
from service.egress.client import Egress, Rules, TargetFailed, TargetRefused

if TYPE_CHECKING:
    from service.workers.stages.encode_ahead import Heed  # numpy, which the API starts without

_MAX_SECONDS = 60.0  # over all tries: meanwhile a GPU waits, and on Modal it is paid for
# What may pass: an overloaded server, or one that is being started again.
_PASSING = frozenset({408, 425, 429, *range(500, 600)})
_PASSING_REASONS = frozenset({"timeout", "resolver", "connect"})
_PAUSES = (0.5, 2.0, 5.0)  # seconds before a fetch that failed is tried again
_LOOK_SECONDS = 0.5  # how soon a pause ends when the attempt is to stop


@dataclass(frozen=True)
class Sources:
    """The one way out for URLs, and how much is taken in."""

    egress: Egress = field(default_factory=lambda: Egress(Rules()))
    max_image_bytes: int = 20_000_000
    max_video_bytes: int = 100_000_000
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def max_bytes(self, role: Role) -> int:
        return self.max_video_bytes if role == "video" else self.max_image_bytes


def stored(role: Role, job_id: JobId, artifacts: ArtifactStore) -> Path:
    """A file with the bytes that are kept for the job, not to be changed.

    Raises AttemptFailed (`input_gone`); Unavailable passes through.
    """
    path = artifacts.path(input_key(job_id, role))
    if path is None:
        what = f"the {role} that this job was given is no longer there"
        raise AttemptFailed(FailureKind.INTERNAL, "input_gone", what, of_model=False)
    return path


def fetch(url: str, role: Role, sources: Sources, into: Path, check_cancel: "Heed") -> None:
    """Write what `url` leads to into a file.

    A transient failure is tried again a few times, for a minute in all; what `check_cancel` raises
    meanwhile ends the wait. Raises AttemptFailed: `url_refused` (our rules forbid it, or where it
    is redirected, and no socket was opened there), `url_failed`, `url_too_large` (all of kind
    user), `url_unavailable` (transient: nobody listens, a timeout, a connection that broke off, a
    resolver that is away, or a server that says that it is its own trouble).
    """
    end = sources.clock() + _MAX_SECONDS
    max_bytes = sources.max_bytes(role)
    for tries, pause in enumerate((*_PAUSES, None), start=1):
        timeout = timedelta(seconds=end - sources.clock())
        try:
            sources.egress.fetch(url, into=into, max_bytes=max_bytes, timeout=timeout)
            return
        except TargetRefused as refused:
            what = f"the URL of {role} is not called: {refused.reason}"
            raise _failed("url_refused", what) from None
        except TargetFailed as failed:
            is_last = pause is None or sources.clock() + pause >= end
            if is_last or not _may_pass(failed):
                raise _told(failed, role, tries) from None
        assert pause is not None, "after the last try it was told"
        _wait(pause, sources, check_cancel)


def _wait(seconds: float, sources: Sources, check_cancel: "Heed") -> None:
    for _ in range(round(seconds / _LOOK_SECONDS)):
        check_cancel()
        sources.sleep(_LOOK_SECONDS)
    check_cancel()


def _may_pass(failed: TargetFailed) -> bool:
    return failed.reason in _PASSING_REASONS or failed.status in _PASSING or failed.broke_off


def _told(failed: TargetFailed, role: Role, tries: int) -> AttemptFailed:
    """The failure as the job's owner reads it, without a word that the other side sent."""
    if _may_pass(failed):
        often = "once" if tries == 1 else f"{tries} times"
        what = f"the URL of {role} {_why(failed)}; it was tried {often}"
        return AttemptFailed(FailureKind.TRANSIENT, "url_unavailable", what)
    if failed.reason == "too_large":
        return _failed("url_too_large", f"the URL of {role} leads to too large a file")
    return _failed("url_failed", f"the URL of {role} {_why(failed)}")


def _why(failed: TargetFailed) -> str:
    if failed.status is not None:
        return f"answers {failed.status}"
    if failed.broke_off:
        return "leads to a server that broke the connection off"
    return {
        "timeout": f"was not fetched within {_MAX_SECONDS:.0f} s",
        "resolver": "has a host that cannot be looked up just now",
        "dns": "has a host that is not found",
        "connect": "leads to a host where nobody listens",
        "tls": "leads to a host without a trusted certificate for its name",
        "redirects": "is redirected more than five times",
    }.get(failed.reason, "leads to what is no web server")


def _failed(code: str, message: str) -> AttemptFailed:
    return AttemptFailed(FailureKind.USER, code, message)
