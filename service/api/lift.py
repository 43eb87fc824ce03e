"""A JSON body that is too large for memory: its long texts are left in the file that it lies in."""

from collections.abc import Iterator
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path

from service.domain.errors import TooLarge

_LONG = 65_536  # from this length on a text stays in the file
_MOST_ESCAPED = 1_000  # quotes within a text: base64 has none
_LONGEST_RUN = 1_024  # of backslashes
_PIECE = 1 << 18


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
                piece = kept + opened.read(min(_PIECE, left))
                left = self.end - opened.tell()
                kept = b"\\" if left and piece.endswith(b"\\") else b""
                piece = piece.removesuffix(kept) if kept else piece
                yield piece.replace(b"\\/", b"/").decode("latin-1")


def lift(file: Path, name: str, most_rest: int) -> tuple[bytes, dict[str, Span]]:
    """The JSON in `file` with each long text replaced by `name` and a number, and the texts.

    Raises TooLarge when more than `most_rest` bytes are left, which is all that is read. What is
    left is not yet known to be JSON.
    """
    spans: dict[str, Span] = {}
    rest = bytearray()
    place = 0
    with file.open("rb") as opened, mmap(opened.fileno(), 0, access=ACCESS_READ) as text:
        for start, end in _texts(text):
            if len(rest) + start - place > most_rest:
                raise _too_large(most_rest)
            if end - start < _LONG:
                continue
            called = f"{name}:{len(spans)}"
            spans[called] = Span(file, start, end)
            rest += text[place:start] + called.encode()
            place = end
        if len(rest) + len(text) - place > most_rest:
            raise _too_large(most_rest)
        rest += text[place:]
    return bytes(rest), spans


def _texts(text: mmap) -> Iterator[tuple[int, int]]:
    """Where each text begins and ends. A quote is one of its ends or escaped, so that nothing else
    of JSON needs to be understood."""
    start = text.find(b'"')
    while start >= 0:
        end = _end(text, start + 1)
        if end < 0:
            return
        yield start + 1, end
        start = text.find(b'"', end + 1)


def _end(text: mmap, start: int) -> int:
    """The quote that closes the text; -1 where there is none."""
    end, escaped = text.find(b'"', start), 0
    while end >= 0 and _escaped(text, start, end):
        escaped += 1
        if escaped > _MOST_ESCAPED and end - start > _LONG:
            raise TooLarge("only image, last_image and video may be so long, and as base64")
        end = text.find(b'"', end + 1)
    return end


def _escaped(text: mmap, start: int, place: int) -> bool:
    before = text[max(start, place - _LONGEST_RUN) : place]
    backslashes = len(before) - len(before.rstrip(b"\\"))
    if backslashes == _LONGEST_RUN:
        raise TooLarge("only image, last_image and video may be so long, and as base64")
    return backslashes % 2 == 1


def _too_large(most: int) -> TooLarge:
    return TooLarge(f"the body has more than {most:,} bytes besides its pictures and films")
