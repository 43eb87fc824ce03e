"""Open connections: how many there may be, and how long each may keep the service waiting.

Whoever connects costs memory and a file before any key is known, so that each connection has a
deadline for all that it does not do: send a head, send the next one, take its answer.
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

HEAD_SECONDS = 20.0  # for a request's head to come in
_UNREAD_SECONDS = 5.0  # for the rest of a body whose request is answered already
_WRITE_SECONDS = 60.0  # in which a reader takes at least the next
_MIN_TAKEN_BYTES = 65_536
_MAX_UNSENT_BYTES = 268_435_456  # in memory, of all answers together


class Connection(Protocol):
    """What is asked of a connection here."""

    transport: Transport
    served: bool  # had a request before

    def expire(self) -> None:
        """Close it, with an answer if part of a head has come."""
        ...


class _Stall(NamedTuple):
    """A reader is behind since that moment, by so many bytes."""

    since: float
    bytes_left: int


@dataclass
class Connections:
    """Closes what keeps the service waiting for too long, and over the cap the longest idle one.

    A connection over the cap is never refused while another is idle: silent sockets keep nobody
    out.
    """

    max_connections: int
    keep_alive_seconds: int = 75
    clock: Callable[[], float] = time.monotonic
    max_unsent_bytes: int = _MAX_UNSENT_BYTES
    # Without a request under way, and since when; the longest idle one is the first.
    _idle: dict[Connection, float] = field(default_factory=dict)
    _stalls: dict[Connection, _Stall] = field(default_factory=dict)
    _unread: dict[Connection, float] = field(default_factory=dict)

    def open(self, connection: Connection, number: int) -> None:
        """Admit a connection, which makes `number` of them."""
        self._idle[connection] = self.clock()
        if number > self.max_connections:
            longest = next(iter(self._idle))
            del self._idle[longest]
            longest.transport.abort()

    def begin(self, connection: Connection) -> None:
        """A head is complete: a request is under way."""
        self._idle.pop(connection, None)

    def end(self, connection: Connection) -> None:
        """Its answer is given, and none is under way."""
        self._idle[connection] = self.clock()

    def leave_unread(self, connection: Connection) -> None:
        """Its answer is given before its body has come."""
        self._unread[connection] = self.clock()

    def read_whole(self, connection: Connection) -> None:
        self._unread.pop(connection, None)

    def close(self, connection: Connection) -> None:
        self._unread.pop(connection, None)
        self._idle.pop(connection, None)
        self._stalls.pop(connection, None)

    def stall(self, connection: Connection) -> None:
        """Its reader takes less than is written."""
        self._stalls[connection] = _Stall(self.clock(), _bytes_left(connection.transport))

    def flow(self, connection: Connection) -> None:
        self._stalls.pop(connection, None)

    def sweep(self) -> None:
        """Close the connections whose time is over; once a second is often enough."""
        now = self.clock()
        for connection, since in list(self._idle.items()):
            kept = self.keep_alive_seconds if connection.served else 0.0
            if now - since >= kept + HEAD_SECONDS:
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
            if stall.bytes_left - _bytes_left(connection.transport) < _MIN_TAKEN_BYTES:
                self._stalls.pop(connection)
                connection.transport.abort()
            else:
                self.stall(connection)

    def _cut_largest_buffers(self) -> None:
        """Many readers that are slow enough to live would fill the memory all the same."""
        unsent = {one: one.transport.get_write_buffer_size() for one in self._stalls}
        total = sum(unsent.values())
        for connection in sorted(unsent, key=lambda one: unsent[one], reverse=True):
            if total <= self.max_unsent_bytes:
                return
            total -= unsent[connection]
            self._stalls.pop(connection)
            connection.transport.abort()


def _bytes_left(transport: Transport) -> int:
    """What its reader has not taken: in our memory, and in the system's, which may be megabytes."""
    kernel = bytearray(4)
    with suppress(OSError):  # a system that does not tell, or a socket that is closed by now
        fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, kernel)
    return transport.get_write_buffer_size() + int(struct.unpack("i", kernel)[0])


def raise_open_files() -> None:
    """Raise this process's soft limit of open files to its hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):  # macOS has one more limit, below the hard one
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
