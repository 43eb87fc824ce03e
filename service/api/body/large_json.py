"""Parse a JSON body too large for memory: its long strings stay in the file on disk."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from service.domain.errors import TooLarge

_LONG = 65_536  # bytes: longer strings stay in the file
_MAX_ESCAPED = 1_000  # escaped quotes in a long string: base64 has none
_BLOCK = 1 << 16


@dataclass(frozen=True)
class Span:
    """A raw JSON string within a file, without its quotes."""

    file: Path
    start: int
    end: int

    @property
    def length(self) -> int:
        return self.end - self.start

    def pieces(self) -> Iterator[str]:
        """Yield the string in blocks. Only `\\/` is unescaped: base64 needs no other escape."""
        with self.file.open("rb") as stream:
            stream.seek(self.start)
            num_left, carry = self.length, b""
            while num_left:
                piece = carry + stream.read(min(_BLOCK, num_left))
                num_left = self.end - stream.tell()
                carry = b"\\" if num_left and piece.endswith(b"\\") else b""
                piece = piece.removesuffix(b"\\") if carry else piece
                yield piece.replace(b"\\/", b"/").decode("latin-1")


def extract_long_strings(file: Path, name: str, max_rest: int) -> tuple[bytes, dict[str, Span]]:
    """Replace each long string in `file` by `<name>:<number>`; return the rest and the spans.

    The rest may still be invalid JSON. Raises TooLarge for a rest above `max_rest` bytes, and for
    long strings that cannot be base64.
    """
    reader = _Reader(file, name, max_rest)
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            reader.read(block)
    return reader.finish(), reader.spans


@dataclass
class _Reader:
    """Split JSON into strings and the rest. Only quotes and backslashes need to be understood."""

    file: Path
    name: str
    max_rest: int
    spans: dict[str, Span] = field(default_factory=dict)
    _rest: bytearray = field(default_factory=bytearray)
    _offset: int = 0  # of the block within the file
    _text_start: int | None = None  # offset of the open string, if any
    _text: bytearray = field(default_factory=bytearray)  # its content while it may still be short
    _num_backslashes: int = 0  # trailing ones
    _num_escaped: int = 0  # quotes in the open string

    def read(self, block: bytes) -> None:
        start = 0
        while (quote := block.find(b'"', start)) >= 0:
            self._take(block[start:quote])
            self._quote(self._offset + quote)
            start = quote + 1
        self._take(block[start:])
        self._offset += len(block)

    def finish(self) -> bytes:
        self._keep(bytes(self._text))
        return bytes(self._rest)

    def _take(self, piece: bytes) -> None:
        if self._text_start is None:
            self._keep(piece)
            return
        bare = piece.rstrip(b"\\")
        before = 0 if bare else self._num_backslashes
        self._num_backslashes = before + len(piece) - len(bare)
        if len(self._text) <= _LONG:
            self._text += piece

    def _quote(self, offset: int) -> None:
        if self._text_start is None:
            self._keep(b'"')
            self._text_start, self._num_backslashes, self._num_escaped = offset + 1, 0, 0
        elif self._num_backslashes % 2:
            self._take(b'"')
            self._num_escaped += 1
            if self._num_escaped > _MAX_ESCAPED and len(self._text) > _LONG:
                raise TooLarge("only base64 of images, videos and recordings may be this long")
        else:
            self._close(self._text_start, offset)

    def _close(self, start: int, end: int) -> None:
        if end - start > _LONG:
            placeholder = f"{self.name}:{len(self.spans)}"
            self.spans[placeholder] = Span(self.file, start, end)
            self._keep(placeholder.encode())
        else:
            self._keep(bytes(self._text))
        self._keep(b'"')
        self._text.clear()
        self._text_start = None

    def _keep(self, piece: bytes) -> None:
        self._rest += piece
        if len(self._rest) > self.max_rest:
            limit = f"{self.max_rest:,} bytes"
            raise TooLarge(f"the body has more than {limit} without its inputs")
