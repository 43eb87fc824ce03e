"""A connection with one deadline for connect, TLS, and every read and write."""

import socket
import ssl
from collections.abc import Callable, Sequence

import httpcore

from service.egress.deadline import Deadline, TargetFailed

Connect = Callable[[tuple[str, int], float], socket.socket]

MAX_HEAD_BYTES = 64 * 1024
MAX_TRIES = 4


def dial(
    addresses: Sequence[str], port: int, connect: Connect, deadline: Deadline
) -> socket.socket:
    """Connect to the first address that accepts; each try gets an equal share of the time left."""
    failure: OSError | None = None
    tries = addresses[:MAX_TRIES]
    for number, address in enumerate(tries):
        try:
            seconds = deadline.remaining_seconds() / (len(tries) - number)
            connection = connect((address, port), seconds)
            # Head and body are two writes: the second must not wait for the first one's ACK.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection
        except OSError as error:
            failure = error
    raise TargetFailed("timeout" if isinstance(failure, TimeoutError) else "connect") from failure


class Stream(httpcore.NetworkStream):
    """A socket whose reads and writes end by the deadline, however slow the other side is.

    Until `has_head` is set it reads at most `MAX_HEAD_BYTES`: h11 limits each head, but not the
    number of `100 Continue` responses before the final one.
    """

    def __init__(self, connection: socket.socket, deadline: Deadline) -> None:
        self._socket = connection
        self._deadline = deadline
        self._head_bytes = 0
        self.has_head = False
        self.has_ended = False  # closed by the other side

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if not self.has_head and self._head_bytes >= MAX_HEAD_BYTES:
            raise TargetFailed("protocol")
        self._socket.settimeout(self._deadline.remaining_seconds())
        try:
            data = self._socket.recv(max_bytes)
        except TimeoutError:
            raise TargetFailed("timeout") from None
        except OSError:
            raise TargetFailed("protocol", broke_off=True) from None
        self.has_ended = not data
        self._head_bytes += len(data)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        unsent = memoryview(buffer)
        while unsent:
            self._socket.settimeout(self._deadline.remaining_seconds())
            try:
                unsent = unsent[self._socket.send(unsent) :]
            except TimeoutError:
                raise TargetFailed("timeout") from None
            except OSError as error:
                # httpcore then reads the response: a server may send one early.
                raise httpcore.WriteError from error

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        self._socket.settimeout(self._deadline.remaining_seconds())
        try:
            self._socket = ssl_context.wrap_socket(self._socket, server_hostname=server_hostname)
        except TimeoutError:
            raise TargetFailed("timeout") from None
        except (OSError, ValueError) as error:
            broke_off = isinstance(error, ssl.SSLEOFError | ConnectionError)
            raise TargetFailed("tls", broke_off=broke_off) from error
        return self

    def close(self) -> None:
        self._socket.close()
