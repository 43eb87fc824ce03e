"""Named moments at which a test may have the process die: the windows between two durable acts."""

import os
from collections.abc import Callable

# Where a crash must cost nothing that was promised. A test kills at each of them.
FAILPOINTS = (
    "inputs.kept",  # the picture that a job begins with is kept, the job is not there
    "submit.committed",  # the job is durable, its 202 not sent
    "claim.committed",  # the attempt is open, its ticket not sent
    "begin.committed",  # the attempt runs, its worker does not know the fence
    "finish.committed",  # the job has succeeded, its worker does not know
    "worker.kept",  # the bytes and their manifest are kept, `finish` not called
    "webhook.taken",  # a try has begun, nothing is sent
    "webhook.sent",  # the receiver has it, and nothing is recorded
    "purge.bytes_gone",  # the bytes of a job are gone, its row is not
)

_armed: dict[str, Callable[[], None]] = {}


def failpoint(name: str) -> None:
    """Nothing at all, unless a test armed it."""
    if _armed and name in _armed:
        _armed[name]()


def arm(name: str, action: Callable[[], None] | None = None) -> None:
    """Do `action` at this failpoint from now on; without one the process dies on the spot."""
    if name not in FAILPOINTS:
        raise ValueError(f"no failpoint {name!r}; there is: {', '.join(FAILPOINTS)}")
    _armed[name] = action or _die


def disarm() -> None:
    _armed.clear()


def _die() -> None:
    os._exit(137)  # as after kill -9: no cleaning up
