"""What addresses a name has, asked within a deadline."""

import socket
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import BoundedSemaphore, Thread

from service.egress.deadline import Deadline, Reason, TargetFailed

Resolve = Callable[[str], Sequence[str]]

MAX_LOOKUPS = 32
# Of the resolver, not of the name: a server that is away, or refuses to tell, or our own trouble.
_OF_THE_RESOLVER = frozenset(
    {socket.EAI_AGAIN, socket.EAI_FAIL, socket.EAI_MEMORY, socket.EAI_SYSTEM}
)


def system_addresses(host: str) -> list[str]:
    """What this machine's resolver answers, best first. OSError when there is no such name."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class DnsResolver:
    """Asks `resolve` within a deadline. getaddrinfo knows none and cannot be stopped, so it gets a
    thread that the one who asked may leave behind; there are never more than a few of those.
    """

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        self._free = BoundedSemaphore(MAX_LOOKUPS)

    def addresses(self, host: str, deadline: Deadline) -> Sequence[str]:
        """At least one. The caller judges them."""
        if not self._free.acquire(timeout=deadline.left()):
            raise TargetFailed("timeout")
        answer: Future[Sequence[str]] = Future()
        self._start(host, answer)
        try:
            found = answer.result(deadline.left())
        except TimeoutError:
            raise TargetFailed("timeout") from None
        except (OSError, UnicodeError) as error:
            raise TargetFailed(_reason(error)) from error
        if not found:
            raise TargetFailed("dns")
        return tuple(found)

    def _start(self, host: str, answer: Future[Sequence[str]]) -> None:
        try:
            Thread(target=self._ask, args=(host, answer), name="lookup", daemon=True).start()
        except RuntimeError:  # the machine is out of threads
            self._free.release()
            raise

    def _ask(self, host: str, answer: Future[Sequence[str]]) -> None:
        try:
            answer.set_result(self._resolve(host))
        except (OSError, UnicodeError) as error:
            answer.set_exception(error)
        finally:
            self._free.release()


def _reason(error: OSError | UnicodeError) -> Reason:
    if isinstance(error, socket.gaierror):
        return "resolver" if error.errno in _OF_THE_RESOLVER else "dns"
    # Any other OSError is this machine's own: no more files, say. A name in no form is no name.
    return "resolver" if isinstance(error, OSError) else "dns"
