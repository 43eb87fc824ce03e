"""Brings what a job begins with to a file: from where it is kept, or from its URL."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from service.domain.attempt import AttemptFailed, FailureKind
from service.domain.job import JobId, input_key
from service.domain.media import MediaRef, Role
from service.domain.ports import ArtifactStore
from service.egress.client import Egress, Rules, TargetFailed, TargetRefused

_TIMEOUT = timedelta(seconds=60)
# What may pass: an overloaded server, or one that is being started again.
_PASSING = frozenset({408, 425, 429, *range(500, 600)})
_PASSING_REASONS = frozenset({"timeout", "resolver", "connect"})
_PAUSES = (0.5, 2.0, 5.0)  # seconds before a fetch that failed is tried again


@dataclass(frozen=True)
class Sources:
    """The one way out for URLs, and how much is taken in."""

    egress: Egress = field(default_factory=lambda: Egress(Rules()))
    most_image_bytes: int = 20_000_000
    most_video_bytes: int = 100_000_000
    sleep: Callable[[float], None] = time.sleep

    def most_bytes(self, role: Role) -> int:
        return self.most_video_bytes if role == "video" else self.most_image_bytes


def fetch(
    ref: MediaRef, role: Role, job_id: JobId, artifacts: ArtifactStore, sources: Sources, into: Path
) -> Path:
    """A file with the bytes, not to be changed: what is kept for the job, or `into`, from a URL.

    What may pass is waited for a few times. Raises AttemptFailed: `url_refused` (our rules forbid
    it, or where it is redirected, and no socket was opened there), `url_failed`, `url_too_large`
    (all of kind user), `url_unavailable` (transient: nobody listens, a timeout, a connection that
    broke off, a resolver that is away, or a server that says that it is its own trouble).
    Unavailable passes through.
    """
    if ref.url is None:
        path = artifacts.path(input_key(job_id, role))
        if path is None:
            what = f"the {role} that this job was given is no longer there"
            raise AttemptFailed(FailureKind.INTERNAL, "input_gone", what, of_model=False)
        return path
    with _told(role):
        _fetch(ref.url, role, sources, into)
    return into


def _fetch(url: str, role: Role, sources: Sources, into: Path) -> None:
    for pause in (*_PAUSES, None):
        try:
            sources.egress.fetch(
                url, into=into, most_bytes=sources.most_bytes(role), timeout=_TIMEOUT
            )
            return
        except TargetFailed as failed:
            if pause is None or not _may_pass(failed):
                raise
        sources.sleep(pause)


def _may_pass(failed: TargetFailed) -> bool:
    return failed.reason in _PASSING_REASONS or failed.status in _PASSING or failed.broke_off


@contextmanager
def _told(role: Role) -> Iterator[None]:
    """Nothing of what the other side sent is in the words."""
    try:
        yield
    except TargetRefused as refused:
        raise _failed("url_refused", f"the URL of {role} is not called: {refused.reason}") from None
    except TargetFailed as failed:
        if _may_pass(failed):
            what = f"the URL of {role} {_why(failed)}; it was tried {len(_PAUSES) + 1} times"
            raise AttemptFailed(FailureKind.TRANSIENT, "url_unavailable", what) from None
        if failed.reason == "too_large":
            raise _failed("url_too_large", f"the URL of {role} leads to too large a file") from None
        raise _failed("url_failed", f"the URL of {role} {_why(failed)}") from None


def _why(failed: TargetFailed) -> str:
    if failed.status is not None:
        return f"answers {failed.status}"
    if failed.broke_off:
        return "leads to a server that broke the connection off"
    return {
        "timeout": f"was not fetched within {_TIMEOUT.total_seconds():.0f} s",
        "resolver": "has a host that cannot be looked up just now",
        "dns": "has a host that is not found",
        "connect": "leads to a host where nobody listens",
        "tls": "leads to a host without a trusted certificate for its name",
        "redirects": "is redirected more than five times",
    }.get(failed.reason, "leads to what is no web server")


def _failed(code: str, message: str) -> AttemptFailed:
    return AttemptFailed(FailureKind.USER, code, message)
