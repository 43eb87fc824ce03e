"""A JSON body that is too large for memory: its long texts are left in the file that it lies in."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from service.domain.errors import TooLarge

_LONG = 65_536  # from this length on a text stays in the file
_MAX_ESCAPED = 1_000  # quotes within a long text: base64 has none
_BLOCK = 1 << 16


@dataclass(frozen=True)
class Span:
    """A text within a file, without its quotes and as JSON writes it."""

    file: Path
    start: int
    end: int

    @property
    def length(self) -> int:
        return self.end - self.start

    def pieces(self) -> Iterator[str]:
        """The text, bit by bit; of its escapes only that of the slash is known, which is the one
        that writers of JSON put into base64."""
        with self.file.open("rb") as opened:
            opened.seek(self.start)
            left, kept = self.length, b""
            while left:
                piece = kept + opened.read(min(_BLOCK, left))
                left = self.end - opened.tell()
                kept = b"\\" if left and piece.endswith(b"\\") else b""
                piece = piece.removesuffix(b"\\") if kept else piece
                yield piece.replace(b"\\/", b"/").decode("latin-1")


def extract_long_strings(file: Path, name: str, max_rest: int) -> tuple[bytes, dict[str, Span]]:
    """The JSON in `file` with each long text replaced by `name` and a number, and the texts.

    Raises TooLarge when more than `max_rest` bytes are left, and for long texts that are no
    base64. What is left is not yet known to be JSON.
    """
    reader = _Reader(file, name, max_rest)
    with file.open("rb") as opened:
        while block := opened.read(_BLOCK):
            reader.read(block)
    return reader.finish(), reader.spans


@dataclass
class _Reader:
    """Tells texts from what is around them. A quote is an end of a text or escaped within one, so
    that nothing else of JSON needs to be understood."""

    file: Path
    name: str
    max_rest: int
    spans: dict[str, Span] = field(default_factory=dict)
    _rest: bytearray = field(default_factory=bytearray)
    _place: int = 0  # of the block's start
    _text_at: int | None = None  # where the text begins that is being read
    _text: bytearray = field(default_factory=bytearray)  # as much of it as may be short
    _backslashes: int = 0  # at the end of what is read of it
    _escaped: int = 0  # quotes in it

    def read(self, block: bytes) -> None:
        start = 0
        while (quote := block.find(b'"', start)) >= 0:
            self._take(block[start:quote])
            self._quote(self._place + quote)
            start = quote + 1
        self._take(block[start:])
        self._place += len(block)

    def finish(self) -> bytes:
        self._keep(bytes(self._text))
        return bytes(self._rest)

    def _take(self, piece: bytes) -> None:
        if self._text_at is None:
            self._keep(piece)
            return
        bare = piece.rstrip(b"\\")
        before = 0 if bare else self._backslashes
        self._backslashes = before + len(piece) - len(bare)
        if len(self._text) <= _LONG:
            self._text += piece

    def _quote(self, place: int) -> None:
        if self._text_at is None:
            self._keep(b'"')
            self._text_at, self._backslashes, self._escaped = place + 1, 0, 0
        elif self._backslashes % 2:
            self._take(b'"')
            self._escaped += 1
            if self._escaped > _MAX_ESCAPED and len(self._text) > _LONG:
                raise TooLarge("only pictures and films may be so long, and as base64")
        else:
            self._close(self._text_at, place)

    def _close(self, start: int, end: int) -> None:
        if end - start > _LONG:
            called = f"{self.name}:{len(self.spans)}"
            self.spans[called] = Span(self.file, start, end)
            self._keep(called.encode())
        else:
            self._keep(bytes(self._text))
        self._keep(b'"')
        self._text.clear()
        self._text_at = None

    def _keep(self, piece: bytes) -> None:
        self._rest += piece
        if len(self._rest) > self.max_rest:
            most = f"{self.max_rest:,} bytes"
            raise TooLarge(f"the body has more than {most} besides its pictures and films")
