"""Uvicorn's HTTP/1.1 protocol, with limits on what clients can send before authentication."""

from asyncio import BaseTransport, BufferedProtocol
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.api.problems import malformed_http
from service.cli.processes.connections import Connections

MAX_HEAD_BYTES = 32_768
MAX_HEADERS = 200
_MAX_PIPELINED = 16  # requests after the current one
_READ_BYTES = 65_536
_MAX_UNREAD_BYTES = 1_048_576  # of a body after its response


class _BadRequest(Exception):
    """Ends the connection; nothing more of it is read."""

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


def _too_large() -> _BadRequest:
    detail = f"at most {MAX_HEAD_BYTES:,} bytes and {MAX_HEADERS} headers before the body"
    return _BadRequest(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, detail)


class HttpProtocol(HttpToolsProtocol):
    """Limits a request's head and trailers, and ignores an Upgrade."""

    def __init__(self, watch: Connections, **options: Any) -> None:
        super().__init__(**options)
        self.has_served = False
        self._watch = watch
        self._error: _BadRequest | None = None  # sent after the pending responses
        self._unread_bytes = 0
        # Of a head or of trailers; None within a body.
        self._head_bytes: int | None = 0

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self._watch.open(self, len(self.connections))

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._watch.close(self)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch.stall(self)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._watch.flow(self)

    def expire(self) -> None:
        if self._head_bytes and not self.transport.is_closing():
            detail = "the head of the request did not arrive in time"
            self._refuse(_BadRequest(HTTPStatus.REQUEST_TIMEOUT, detail))
        else:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self._count_unread(len(data))
        try:
            while data and self._error is None and not self.transport.is_closing():
                data = self._feed(data)
        except _BadRequest as error:
            self._refuse(error)
        except httptools.HttpParserError as error:
            cause = error.__context__  # raised in a callback
            unknown = _BadRequest(HTTPStatus.BAD_REQUEST, "this is not a request in HTTP/1.1")
            self._refuse(cause if isinstance(cause, _BadRequest) else unknown)

    def _count_unread(self, size: int) -> None:
        """Read little of a body after its response. The connection is not closed at once: a reset
        would lose the response for a client that is still sending."""
        if self._is_answered_early():
            self._unread_bytes += size
            if self._unread_bytes > _MAX_UNREAD_BYTES:
                self.flow.pause_reading()

    def _is_answered_early(self) -> bool:
        cycle = self.cycle
        return cycle is not None and cycle.response_complete and cycle.more_body

    def _feed(self, data: bytes) -> bytes:
        """Parse a part and return the rest. A head is cut at its limit: the parser joins the parts
        of a long header again with each one."""
        part = data
        if self._head_bytes is not None:
            part = data[: MAX_HEAD_BYTES - self._head_bytes]
            self._head_bytes += len(part)
        try:
            self.parser.feed_data(part)
        except httptools.HttpParserUpgrade as upgrade:
            head = self._head_without_upgrade()
            # If the request closes its connection, this parser would skip what follows. A later
            # request is parsed too, but never answered: the first response closes.
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            self.parser.feed_data(head)
            return data[upgrade.args[0] :]
        if self._head_bytes is not None and self._head_bytes >= MAX_HEAD_BYTES:
            raise _too_large()
        return data[len(part) :]

    def _should_upgrade(self) -> bool:
        """Stop the parser at an Upgrade, whose body it would skip; `_feed` parses the head again
        without it."""
        return True

    def _head_without_upgrade(self) -> bytes:
        if self.parser.get_method() == b"CONNECT":
            raise _BadRequest(HTTPStatus.METHOD_NOT_ALLOWED, "this is not a proxy")
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    # The parser's callbacks.

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) >= MAX_HEADERS:
            raise _too_large()
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._head_bytes = None
        super().on_headers_complete()
        if self.parser.should_upgrade():
            return
        self._watch.begin(self)
        self.headers = []  # trailers are not part of the head: they are dropped
        if len(self.pipeline) > _MAX_PIPELINED:
            raise _BadRequest(
                HTTPStatus.BAD_REQUEST,
                "too many requests at once on one connection",
            )

    def on_chunk_header(self) -> None:
        """Count from here: after the last, empty chunk come trailers."""
        self._head_bytes = 0

    def on_body(self, body: bytes) -> None:
        self._head_bytes = None
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._head_bytes = 0
        super().on_message_complete()
        if self.cycle is not None and not self.parser.should_upgrade():
            self.cycle.more_body = False  # also after an early response
            self._unread_bytes = 0
            self._watch.read_whole(self)

    def on_response_complete(self) -> None:
        self.has_served = True
        is_last = not self.pipeline
        super().on_response_complete()
        if self._error is not None and is_last:
            self._send_error(self._error)
        elif self.cycle.response_complete:
            self._watch.end(self)
            if self.cycle.more_body:
                self._watch.leave_unread(self)

    def _refuse(self, error: _BadRequest) -> None:
        """Finish the pending responses, send the error, and close. A response in progress is cut
        if the error is in the body of its own request."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            return self._send_error(error)
        if cycle.more_body and not self.pipeline:
            if cycle.response_started:
                return self.transport.abort()
            cycle.disconnected = True  # it stops writing
            cycle.message_event.set()
            return self._send_error(error)
        if cycle.more_body:
            self.pipeline.popleft()  # the latest request
        self._error = error
        self.flow.pause_reading()
        self.flow.read_paused = False  # so that it is not resumed
        return None

    def _send_error(self, error: _BadRequest) -> None:
        if self.transport.is_closing():
            return
        status, body = error.status, malformed_http(error.status, error.detail)
        head = (
            f"HTTP/1.1 {status} {status.phrase}\r\ncontent-type: application/problem+json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


class _SmallReads(BufferedProtocol):
    """Forwards data in reads of 64 KiB; uvloop would read 256 KiB at once."""

    def __init__(self, protocol: HttpProtocol, buffer: bytearray) -> None:
        self._protocol = protocol
        self._buffer = buffer

    def connection_made(self, transport: BaseTransport) -> None:
        self._protocol.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.connection_lost(exc)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._protocol.data_received(bytes(memoryview(self._buffer)[:nbytes]))

    def eof_received(self) -> None:
        self._protocol.eof_received()

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()


@dataclass(frozen=True)
class HttpFactory:
    """Creates the protocol of each connection for uvicorn. All share one buffer: data is copied
    out of it before the next read."""

    connections: Connections
    _buffer: bytearray = field(default_factory=lambda: bytearray(_READ_BYTES))

    def __call__(self, **options: Any) -> BufferedProtocol:
        return _SmallReads(HttpProtocol(self.connections, **options), self._buffer)
