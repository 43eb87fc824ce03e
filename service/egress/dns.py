"""DNS lookups within a deadline."""

import socket
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import BoundedSemaphore, Thread

from service.egress.deadline import Deadline, Reason, TargetFailed

Resolve = Callable[[str], Sequence[str]]

MAX_LOOKUPS = 32
# Failures of the resolver or of this machine; they do not mean that the name does not exist.
_RESOLVER_ERRORS = frozenset(
    {socket.EAI_AGAIN, socket.EAI_FAIL, socket.EAI_MEMORY, socket.EAI_SYSTEM}
)


def system_addresses(host: str) -> list[str]:
    """Resolve by this machine's resolver, best address first. Raises OSError for no such name."""
    rows = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in rows]


class DnsResolver:
    """Calls `resolve` within a deadline. getaddrinfo has no timeout and cannot be stopped, so it
    runs in a thread, which a caller may abandon; there are at most `MAX_LOOKUPS`.
    """

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        self._slots = BoundedSemaphore(MAX_LOOKUPS)

    def addresses(self, host: str, deadline: Deadline) -> Sequence[str]:
        """Return at least one address, not checked. Raises TargetFailed."""
        if not self._slots.acquire(timeout=deadline.remaining_seconds()):
            raise TargetFailed("timeout")
        answer: Future[Sequence[str]] = Future()
        self._start(host, answer)
        try:
            addresses = answer.result(deadline.remaining_seconds())
        except TimeoutError:
            raise TargetFailed("timeout") from None
        except (OSError, UnicodeError) as error:
            raise TargetFailed(_reason(error)) from error
        if not addresses:
            raise TargetFailed("dns")
        return tuple(addresses)

    def _start(self, host: str, answer: Future[Sequence[str]]) -> None:
        try:
            Thread(target=self._run, args=(host, answer), name="lookup", daemon=True).start()
        except RuntimeError:  # the machine is out of threads
            self._slots.release()
            raise

    def _run(self, host: str, answer: Future[Sequence[str]]) -> None:
        try:
            answer.set_result(self._resolve(host))
        except (OSError, UnicodeError) as error:
            answer.set_exception(error)
        finally:
            self._slots.release()


def _reason(error: OSError | UnicodeError) -> Reason:
    if isinstance(error, socket.gaierror):
        return "resolver" if error.errno in _RESOLVER_ERRORS else "dns"
    # Any other OSError is local, such as no more files. An invalid name does not exist.
    return "resolver" if isinstance(error, OSError) else "dns"
