"""Named points, between two durable steps, at which a test may kill the process."""

import os
from collections.abc import Callable

# A crash at any of these must lose nothing that was acknowledged; tests kill at each.
FAILPOINTS = (
    "inputs.kept",  # the inputs are stored, the job is not
    "submit.committed",  # the job is durable, its 202 is not sent
    "speech.kept",  # the speech is stored, its job does not know
    "claim.committed",  # the attempt is open, its ticket is not sent
    "begin.committed",  # the attempt is running, its worker has no fencing token yet
    "finish.committed",  # the job has succeeded, its worker is not told
    "worker.kept",  # the files and manifest are stored, `finish` is not called
    "webhook.taken",  # an attempt is recorded, nothing is sent
    "webhook.sent",  # the receiver has it, the result is not recorded
    "purge.bytes_gone",  # the files of a job are deleted, its row is not
)

_actions: dict[str, Callable[[], None]] = {}


def failpoint(name: str) -> None:
    """Run the action of this failpoint, if a test armed it."""
    if _actions and name in _actions:
        _actions[name]()


def arm(name: str, action: Callable[[], None] | None = None) -> None:
    """Run `action` at this failpoint from now on; by default the process dies."""
    if name not in FAILPOINTS:
        raise ValueError(f"unknown failpoint {name!r}; valid: {', '.join(FAILPOINTS)}")
    _actions[name] = action or _die


def _die() -> None:
    os._exit(137)  # like kill -9: no cleanup
