"""A connection that keeps a deadline: connect, TLS and each byte count against it."""

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
    """A socket to the first address that takes one; each has its fair share of the time left."""
    failure: OSError | None = None
    tries = addresses[:MAX_TRIES]
    for number, address in enumerate(tries):
        try:
            connection = connect((address, port), deadline.left() / (len(tries) - number))
            # Head and body leave in two writes: the second must not wait for the first's receipt.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection
        except OSError as error:
            failure = error
    raise TargetFailed("timeout" if isinstance(failure, TimeoutError) else "connect") from failure


class Stream(httpcore.NetworkStream):
    """A socket whose every read and write ends by the deadline, however slowly bytes drip.

    Until `head_done` it reads no more than a head may be long: h11 limits each head, but not how
    many `100 Continue` come before the one that counts.
    """

    def __init__(self, connection: socket.socket, deadline: Deadline) -> None:
        self._socket = connection
        self._deadline = deadline
        self._head_bytes = 0
        self.head_done = False
        self.ended = False  # by the other side

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if not self.head_done and self._head_bytes >= MAX_HEAD_BYTES:
            raise TargetFailed("protocol")
        self._socket.settimeout(self._deadline.left())
        try:
            data = self._socket.recv(max_bytes)
        except TimeoutError:
            raise TargetFailed("timeout") from None
        except OSError:
            raise TargetFailed("protocol", broke_off=True) from None
        self.ended = not data
        self._head_bytes += len(data)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        unsent = memoryview(buffer)
        while unsent:
            self._socket.settimeout(self._deadline.left())
            try:
                unsent = unsent[self._socket.send(unsent) :]
            except TimeoutError:
                raise TargetFailed("timeout") from None
            except OSError as error:
                # httpcore then reads on: a server may answer before it has read everything.
                raise httpcore.WriteError from error

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        self._socket.settimeout(self._deadline.left())
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
