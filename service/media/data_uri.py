"""Decode files in a JSON body: base64, or a base64 `data:` URI (RFC 2397)."""

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

# Unambiguous wrong or wider names that many programs use.
_ALIASES = {"image/jpg": "image/jpeg", "image/heif": "image/heic"}
# Suggestions where the most similar spelling would be wrong.
_SUGGESTIONS = {
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
_ADVICE = {
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
    """The decoded bytes, and the media type that a `data:` URI claims for them, not yet checked."""

    media_type: str | None  # one of MEDIA_TYPES; None for plain base64
    content: bytes


def decode_inline(text: str, *, max_bytes: int, pointer: str) -> Inline:
    """Decode `text` to a file of 1 to `max_bytes` bytes.

    Only the standard alphabet with padding is accepted, without line breaks. `pointer` locates
    `text` in the body (RFC 6901). Raises TooLarge, by the length before decoding, and
    RequestRefused otherwise.
    """
    media_type, start = _header(text, pointer)
    size_bytes = _size_bytes(text, start)
    if size_bytes > max_bytes:
        raise TooLarge(f"{pointer} has more than {max_bytes:,} bytes")
    if start == len(text):
        raise _refused(pointer, "is empty: give the file as base64", "invalid_base64")
    try:
        content = binascii.a2b_base64(text[start:], strict_mode=True)
    except ValueError:
        raise _refused(pointer, _describe_error(text, start), "invalid_base64") from None
    if len(content) != size_bytes:  # Python ignores superfluous padding
        raise _refused(pointer, _describe_error(text, start), "invalid_base64")
    return Inline(media_type, content)


def decode_pieces(pieces: Iterable[str], *, max_bytes: int, pointer: str) -> Iterator[bytes]:
    """Decode a text in pieces, the first with the whole header, without keeping it in memory.

    Raises as `decode_inline` does.
    """
    size_bytes, offset, text, has_ended = 0, 0, "", False
    for number, piece in enumerate(pieces):
        start = _header(piece, pointer)[1] if number == 0 else 0
        offset, text = offset + start, text + piece[start:]
        length = len(text) // 4 * 4
        block, text = text[:length], text[length:]
        if has_ended and block:
            raise _refused(pointer, _TRUNCATED, "invalid_base64")
        content = _decode_block(block, offset, pointer)
        offset, has_ended = offset + length, block.endswith("=")
        size_bytes += len(content)
        if size_bytes > max_bytes:
            raise TooLarge(f"{pointer} has more than {max_bytes:,} bytes")
        yield content
    if text or not size_bytes:
        raise _refused(pointer, _TRUNCATED, "invalid_base64")


def _decode_block(block: str, offset: int, pointer: str) -> bytes:
    try:
        content = binascii.a2b_base64(block, strict_mode=True)
    except ValueError:
        raise _refused(pointer, _describe_error(block, 0, offset), "invalid_base64") from None
    if len(content) != _size_bytes(block, 0):  # Python ignores superfluous padding
        raise _refused(pointer, _describe_error(block, 0, offset), "invalid_base64")
    return content


def _size_bytes(text: str, start: int) -> int:
    """Compute the decoded size of `text` from `start` on, if it is base64."""
    return (len(text) - start) // 4 * 3 - text.count("=", max(start, len(text) - 2))


def _header(text: str, pointer: str) -> tuple[str | None, int]:
    """Return the media type, and the index where the base64 begins."""
    if text[:5].lower() != "data:":
        return None, 0
    header = _HEADER.match(text, 0, _MAX_HEADER)
    if header is None:
        raise _refused(pointer, "has no comma after its media type", "invalid_data_uri")
    if header[2].rpartition(";")[2].lower() != "base64":
        detail = "must be base64: data:image/png;base64,…; percent-encoding is not supported"
        raise _refused(pointer, detail, "invalid_data_uri")
    media_type = _ALIASES.get(header[1].lower(), header[1].lower())
    if media_type not in MEDIA_TYPES:
        raise _refused(pointer, _unsupported(media_type), "unsupported_media_type")
    return media_type, header.end()


def _unsupported(media_type: str) -> str:
    """Describe an unsupported media type, suggesting the nearest supported one, or all."""
    matches = get_close_matches(media_type, MEDIA_TYPES, n=1, cutoff=0.7)
    nearest = _SUGGESTIONS.get(media_type) or next(iter(matches), None)
    advice = f"did you mean {nearest}?" if nearest else f"give one of {', '.join(MEDIA_TYPES)}"
    return f"is {media_type or 'of no type'}, which is not supported: {advice}"


_TRUNCATED = "is truncated or badly padded: base64 comes in groups of four, `=` only at the end"


def _describe_error(text: str, start: int, offset: int = 0) -> str:
    match = _NOT_BASE64.search(text, start)
    if match is None:
        return _TRUNCATED
    advice = _ADVICE.get(match[0], "use A-Z, a-z, 0-9, + and /, padded with =")
    return f"is not base64 at character {offset + match.start() + 1} ({match[0]!r}): {advice}"


def _refused(pointer: str, detail: str, code: str) -> RequestRefused:
    return RequestRefused([FieldError(pointer, f"{pointer} {detail}", code)])
