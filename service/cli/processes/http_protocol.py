"""HTTP/1.1 on a socket: uvicorn's protocol, with bounds on what comes before a key is known."""

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
_MAX_PIPELINED = 16  # requests behind the one that is answered
_READ_BYTES = 65_536
_MAX_UNREAD_BYTES = 1_048_576  # of a body whose request is answered already


class _Refused(Exception):
    """Nothing more of this connection is read."""

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


def _too_large() -> _Refused:
    detail = f"at most {MAX_HEAD_BYTES:,} bytes and {MAX_HEADERS} headers before the body"
    return _Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, detail)


class HttpProtocol(HttpToolsProtocol):
    """Bounds a request's head and trailers, and answers an Upgrade as if it were not there."""

    def __init__(self, watch: Connections, **given: Any) -> None:
        super().__init__(**given)
        self.served = False
        self._watch = watch
        self._refused: _Refused | None = None  # to be told behind the answers that are due
        self._unread_bytes = 0
        # Of a head, of trailers, or of what precedes them; None within a body.
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
            detail = "the head of the request did not come in in time"
            self._refuse(_Refused(HTTPStatus.REQUEST_TIMEOUT, detail))
        else:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self._count_unread(len(data))
        try:
            while data and self._refused is None and not self.transport.is_closing():
                data = self._feed(data)
        except _Refused as refused:
            self._refuse(refused)
        except httptools.HttpParserError as error:
            raised = error.__context__  # in a callback
            unknown = _Refused(HTTPStatus.BAD_REQUEST, "this is not a request in HTTP/1.1")
            self._refuse(raised if isinstance(raised, _Refused) else unknown)

    def _count_unread(self, size: int) -> None:
        """Take little of a body that nobody reads. The connection stays for a moment: closed at
        once, it would be reset, and the answer lost to a client that is still sending."""
        if self._is_answered_early():
            self._unread_bytes += size
            if self._unread_bytes > _MAX_UNREAD_BYTES:
                self.flow.pause_reading()

    def _is_answered_early(self) -> bool:
        cycle = self.cycle
        return cycle is not None and cycle.response_complete and cycle.more_body

    def _feed(self, data: bytes) -> bytes:
        """Parse some of it, and answer the rest. Never more of a head than it may have: the parser
        joins the pieces of a long header anew with each that comes."""
        piece = data
        if self._head_bytes is not None:
            piece = data[: MAX_HEAD_BYTES - self._head_bytes]
            self._head_bytes += len(piece)
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            head = self._head_without_upgrade()
            # Where the request ends its connection, this parser would skip what is fed from here
            # on. A request behind it is read too, but never answered: the first answer closes.
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            self.parser.feed_data(head)
            return data[upgrade.args[0] :]
        if self._head_bytes is not None and self._head_bytes >= MAX_HEAD_BYTES:
            raise _too_large()
        return data[len(piece) :]

    def _should_upgrade(self) -> bool:
        """The parser skips the body of a request that wants an upgrade: it is held back here, and
        comes again without that wish."""
        return True

    def _head_without_upgrade(self) -> bytes:
        if self.parser.get_method() == b"CONNECT":
            raise _Refused(HTTPStatus.METHOD_NOT_ALLOWED, "this is no proxy")
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
        self.headers = []  # trailers are not part of the head: they are read, and forgotten
        if len(self.pipeline) > _MAX_PIPELINED:
            raise _Refused(HTTPStatus.BAD_REQUEST, "too many requests at once on one connection")

    def on_chunk_header(self) -> None:
        """The last chunk has no bytes: what follows then are trailers, which nothing else ends."""
        self._head_bytes = 0

    def on_body(self, body: bytes) -> None:
        self._head_bytes = None
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._head_bytes = 0
        super().on_message_complete()
        if self.cycle is not None and not self.parser.should_upgrade():
            self.cycle.more_body = False  # also of a request that is answered already
            self._unread_bytes = 0
            self._watch.read_whole(self)

    def on_response_complete(self) -> None:
        self.served = True
        is_last = not self.pipeline
        super().on_response_complete()
        if self._refused is not None and is_last:
            self._tell(self._refused)
        elif self.cycle.response_complete:
            self._watch.end(self)
            if self.cycle.more_body:
                self._watch.leave_unread(self)

    def _refuse(self, refused: _Refused) -> None:
        """Answer what came before it, then in place of the service, which knows nothing of this
        request, and close. An answer that is under way cannot be followed by another where the
        rest of its own request is refused: it is cut."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            return self._tell(refused)
        if cycle.more_body and not self.pipeline:
            if cycle.response_started:
                return self.transport.abort()
            cycle.disconnected = True  # it writes no more
            cycle.message_event.set()
            return self._tell(refused)
        if cycle.more_body:
            self.pipeline.popleft()  # the latest
        self._refused = refused
        self.flow.pause_reading()
        self.flow.read_paused = False  # so that nobody resumes it
        return None

    def _tell(self, refused: _Refused) -> None:
        if self.transport.is_closing():
            return
        status, body = refused.status, malformed_http(refused.status, refused.detail)
        head = (
            f"HTTP/1.1 {status} {status.phrase}\r\ncontent-type: application/problem+json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


class _SmallReads(BufferedProtocol):
    """Hands on what comes in, 64 KiB at a time; uvloop would read four times as much at once."""

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
    """Makes the protocol of each connection, as uvicorn calls it. One buffer serves all: what is
    read into it is handed on before the next read begins."""

    connections: Connections
    _buffer: bytearray = field(default_factory=lambda: bytearray(_READ_BYTES))

    def __call__(self, **given: Any) -> BufferedProtocol:
        return _SmallReads(HttpProtocol(self.connections, **given), self._buffer)
