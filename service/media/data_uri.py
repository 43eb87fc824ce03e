"""Small files inside a JSON body: base64, or a `data:` URI that carries base64 (RFC 2397)."""

import binascii
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from service.domain.errors import FieldError, RequestRefused, TooLarge

MEDIA_TYPES = (
    "image/png",
    "image/jpeg",
    "image/webp",
    "image/heic",
    "image/avif",
    "audio/wav",
    "audio/mpeg",
    "audio/mp4",
    "audio/flac",
    "audio/ogg",
    "video/mp4",
    "video/webm",
    "video/quicktime",
)

# Wrong or wider names that many programs give, and that can mean one thing only.
_ALIASES = {"image/jpg": "image/jpeg", "image/heif": "image/heic"}
# What programs write for one of ours, where the nearest spelling would mislead.
_ALSO_CALLED = {
    "audio/mp3": "audio/mpeg",
    "audio/m4a": "audio/mp4",
    "audio/x-m4a": "audio/mp4",
    "audio/aac": "audio/mp4",
    "audio/vnd.wave": "audio/wav",
    "audio/opus": "audio/ogg",
    "video/x-m4v": "video/mp4",
}
_MAX_HEADER = 200  # characters before the comma; the longest real one has about 60
_HEADER = re.compile(r"data:([^;,]*)((?:;[^;,]*)*),", re.IGNORECASE)
_RIGHT = {
    "-": "use the standard alphabet, with + and / instead of - and _",
    "_": "use the standard alphabet, with + and / instead of - and _",
    "%": "leave it as base64, without percent-encoding",
    "\n": "leave out line breaks (base64 -w0)",
    "\r": "leave out line breaks (base64 -w0)",
    ":": "give base64, a data: URI, an https URL or the id of a job",
}
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/=]")


@dataclass(frozen=True)
class Inline:
    """The bytes, and the type that a `data:` URI claims for them: nobody has looked inside yet."""

    media_type: str | None  # one of MEDIA_TYPES; None for plain base64
    content: bytes


def decode_inline(text: str, *, max_bytes: int, pointer: str) -> Inline:
    """The file that `text` holds, of 1 to `max_bytes` bytes.

    Only the standard alphabet with its padding is taken, without line breaks. `pointer` says where
    `text` stood (RFC 6901). Raises TooLarge, judged by the length alone before anything is decoded,
    and RequestRefused for all else, saying what would be right.
    """
    media_type, start = _header(text, pointer)
    size_bytes = _size_bytes(text, start)
    if size_bytes > max_bytes:
        raise TooLarge(f"{pointer} holds more than {max_bytes:,} bytes")
    if start == len(text):
        raise _refused(pointer, "is empty: give the file as base64", "invalid_base64")
    try:
        content = binascii.a2b_base64(text[start:], strict_mode=True)
    except ValueError:
        raise _refused(pointer, _whats_wrong(text, start), "invalid_base64") from None
    if len(content) != size_bytes:  # Python passes over padding that nothing needs
        raise _refused(pointer, _whats_wrong(text, start), "invalid_base64")
    return Inline(media_type, content)


def decode_pieces(pieces: Iterable[str], *, max_bytes: int, pointer: str) -> Iterator[bytes]:
    """The same for a text that comes bit by bit, the first bit with all of its header, so that
    neither the text nor what it holds is ever in memory as a whole."""
    size_bytes, before, text, ended = 0, 0, "", False
    for number, piece in enumerate(pieces):
        start = _header(piece, pointer)[1] if number == 0 else 0
        before, text = before + start, text + piece[start:]
        whole = len(text) // 4 * 4
        block, text = text[:whole], text[whole:]
        if ended and block:
            raise _refused(pointer, _CUT_OFF, "invalid_base64")
        content = _decoded(block, before, pointer)
        before, ended = before + whole, block.endswith("=")
        size_bytes += len(content)
        if size_bytes > max_bytes:
            raise TooLarge(f"{pointer} holds more than {max_bytes:,} bytes")
        yield content
    if text or not size_bytes:
        raise _refused(pointer, _CUT_OFF, "invalid_base64")


def _decoded(block: str, before: int, pointer: str) -> bytes:
    try:
        content = binascii.a2b_base64(block, strict_mode=True)
    except ValueError:
        raise _refused(pointer, _whats_wrong(block, 0, before), "invalid_base64") from None
    if len(content) != _size_bytes(block, 0):  # Python passes over padding that nothing needs
        raise _refused(pointer, _whats_wrong(block, 0, before), "invalid_base64")
    return content


def _size_bytes(text: str, start: int) -> int:
    """How much `text` decodes to from `start` on, if it is base64 at all."""
    return (len(text) - start) // 4 * 3 - text.count("=", max(start, len(text) - 2))


def _header(text: str, pointer: str) -> tuple[str | None, int]:
    """The media type, and where the base64 begins."""
    if text[:5].lower() != "data:":
        return None, 0
    header = _HEADER.match(text, 0, _MAX_HEADER)
    if header is None:
        raise _refused(pointer, "has no comma after its media type", "invalid_data_uri")
    if header[2].rpartition(";")[2].lower() != "base64":
        detail = "must be base64: data:image/png;base64,…; percent-encoded data is not taken"
        raise _refused(pointer, detail, "invalid_data_uri")
    media_type = _ALIASES.get(header[1].lower(), header[1].lower())
    if media_type not in MEDIA_TYPES:
        raise _refused(pointer, _nearest(media_type), "unsupported_media_type")
    return media_type, header.end()


def _nearest(media_type: str) -> str:
    """Say that the type is not taken, and which is: the nearest, or all of them."""
    spelled = get_close_matches(media_type, MEDIA_TYPES, n=1, cutoff=0.7)
    near = _ALSO_CALLED.get(media_type) or next(iter(spelled), None)
    right = f"did you mean {near}?" if near else f"give one of {', '.join(MEDIA_TYPES)}"
    return f"is {media_type or 'of no type'}, which is not taken: {right}"


_CUT_OFF = "is cut off or badly padded: base64 comes in groups of four, `=` only at the end"


def _whats_wrong(text: str, start: int, before: int = 0) -> str:
    found = _NOT_BASE64.search(text, start)
    if found is None:
        return _CUT_OFF
    right = _RIGHT.get(found[0], "give A-Z, a-z, 0-9, + and /, padded with =")
    return f"is not base64 at character {before + found.start() + 1} ({found[0]!r}): {right}"


def _refused(pointer: str, detail: str, code: str) -> RequestRefused:
    return RequestRefused([FieldError(pointer, f"{pointer} {detail}", code)])
