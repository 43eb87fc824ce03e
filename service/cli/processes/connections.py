"""Limits on the number of open connections, and a deadline for every way to be slow.

A connection costs memory and a descriptor before any key is known. So each has deadlines: to send
a request's head, to send the next request, to read its response.
"""

import fcntl
import resource
import struct
import termios
import time
from asyncio import Transport
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from service.domain.limits import MAX_OPEN_FILES

HEAD_SECONDS = 20.0  # to receive a request's head
_UNREAD_SECONDS = 5.0  # to receive the rest of a body after the response
_WRITE_SECONDS = 60.0  # to read at least the next
_MIN_READ_BYTES = 65_536
_MAX_UNSENT_BYTES = 268_435_456  # in memory, of all responses together


class Connection(Protocol):
    """The part of a protocol that `Connections` needs."""

    transport: Transport
    has_served: bool  # a request before this one

    def expire(self) -> None:
        """Close it, with a response if part of a head has arrived."""
        ...


class _Stall(NamedTuple):
    """Since when a reader is slow, and the bytes it had not read then."""

    since: float
    unread_bytes: int


@dataclass
class Connections:
    """Closes slow connections, and above the limit the one that is idle longest.

    A new connection is never refused while another is idle: silent sockets keep nobody out.
    """

    max_connections: int
    keep_alive_seconds: int = 75
    clock: Callable[[], float] = time.monotonic
    max_unsent_bytes: int = _MAX_UNSENT_BYTES
    # Connections without a request, and since when; the longest idle one is first.
    _idle: dict[Connection, float] = field(default_factory=dict)
    _stalls: dict[Connection, _Stall] = field(default_factory=dict)
    _unread: dict[Connection, float] = field(default_factory=dict)

    def open(self, connection: Connection, number: int) -> None:
        """Admit a connection; `number` are open with it."""
        self._idle[connection] = self.clock()
        if number > self.max_connections:
            idlest = next(iter(self._idle))
            del self._idle[idlest]
            idlest.transport.abort()

    def begin(self, connection: Connection) -> None:
        """Note a complete head: a request is in progress."""
        self._idle.pop(connection, None)

    def end(self, connection: Connection) -> None:
        """Note a complete response, with no other request in progress."""
        self._idle[connection] = self.clock()

    def leave_unread(self, connection: Connection) -> None:
        """Note a response that was complete before the request's body."""
        self._unread[connection] = self.clock()

    def read_whole(self, connection: Connection) -> None:
        self._unread.pop(connection, None)

    def close(self, connection: Connection) -> None:
        self._unread.pop(connection, None)
        self._idle.pop(connection, None)
        self._stalls.pop(connection, None)

    def stall(self, connection: Connection) -> None:
        """Note that the client reads more slowly than the service writes."""
        self._stalls[connection] = _Stall(self.clock(), _unread_bytes_of(connection.transport))

    def flow(self, connection: Connection) -> None:
        self._stalls.pop(connection, None)

    def sweep(self) -> None:
        """Close connections past their deadline; call it about once a second."""
        now = self.clock()
        for connection, since in list(self._idle.items()):
            keep_alive = self.keep_alive_seconds if connection.has_served else 0.0
            if now - since >= keep_alive + HEAD_SECONDS:
                self._idle.pop(connection)
                connection.expire()
        for connection, since in list(self._unread.items()):
            if now - since >= _UNREAD_SECONDS:
                self._unread.pop(connection)
                connection.transport.close()
        self._cut_slow_readers(now)
        self._cut_largest_buffers()

    def _cut_slow_readers(self, now: float) -> None:
        for connection, stall in list(self._stalls.items()):
            if now - stall.since < _WRITE_SECONDS:
                continue
            if stall.unread_bytes - _unread_bytes_of(connection.transport) < _MIN_READ_BYTES:
                self._stalls.pop(connection)
                connection.transport.abort()
            else:
                self.stall(connection)

    def _cut_largest_buffers(self) -> None:
        """Abort the largest while all write buffers together exceed `max_unsent_bytes`."""
        unsent = {c: c.transport.get_write_buffer_size() for c in self._stalls}
        total = sum(unsent.values())
        for connection in sorted(unsent, key=lambda c: unsent[c], reverse=True):
            if total <= self.max_unsent_bytes:
                return
            total -= unsent[connection]
            self._stalls.pop(connection)
            connection.transport.abort()


def _unread_bytes_of(transport: Transport) -> int:
    """Count the bytes not read by the client, in this process and in the kernel's buffer."""
    kernel = bytearray(4)
    with suppress(OSError):  # not supported, or the socket is closed
        fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, kernel)
    return transport.get_write_buffer_size() + int(struct.unpack("i", kernel)[0])


def raise_open_files() -> None:
    """Raise the soft limit of open files to the hard limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < limit:
        with suppress(ValueError, OSError):  # macOS has a lower limit of its own
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
