"""Decode files in a JSON body: base64, or a base64 `data:` URI (RFC 2397).

The media type that a URI claims is ignored: the bytes tell theirs.
"""

import binascii
import re
from collections.abc import Iterable, Iterator

from service.domain.errors import FieldError, RequestRefused, TooLarge

_MAX_HEADER = 200  # characters before the base64; the longest real one has about 60
_MARK = ";base64,"
_ADVICE = {
    "-": "use the standard alphabet, with + and / instead of - and _",
    "_": "use the standard alphabet, with + and / instead of - and _",
    "%": "leave it as base64, without percent-encoding",
    "\n": "leave out line breaks (base64 -w0)",
    "\r": "leave out line breaks (base64 -w0)",
    ":": "give base64, a data: URI, an https URL or the id of a job",
}
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/=]")


def decode_inline(text: str, *, max_bytes: int, pointer: str) -> bytes:
    """Decode `text` to a file of 1 to `max_bytes` bytes.

    Only the standard alphabet with padding is accepted, without line breaks. `pointer` locates
    `text` in the body (RFC 6901). Raises TooLarge, by the length before decoding, and
    RequestRefused otherwise.
    """
    start = _start(text, pointer)
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
    return content


def decode_pieces(pieces: Iterable[str], *, max_bytes: int, pointer: str) -> Iterator[bytes]:
    """Decode a text in pieces, the first with the whole header, without keeping it in memory.

    Raises as `decode_inline` does.
    """
    size_bytes, offset, text, has_ended = 0, 0, "", False
    for number, piece in enumerate(pieces):
        start = _start(piece, pointer) if number == 0 else 0
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


def _start(text: str, pointer: str) -> int:
    """Return the index where the base64 begins. A header may have commas: `codecs=vp8,opus`."""
    header = text[:_MAX_HEADER].lower()
    if not header.startswith("data:"):
        return 0
    index = header.find(_MARK)
    if index >= 0:
        return index + len(_MARK)
    if "," not in header:
        raise _refused(pointer, "has no comma after its media type", "invalid_data_uri")
    detail = "must be base64: data:image/png;base64,…; percent-encoding is not supported"
    raise _refused(pointer, detail, "invalid_data_uri")


_TRUNCATED = "is truncated or badly padded: base64 comes in groups of four, `=` only at the end"


def _describe_error(text: str, start: int, offset: int = 0) -> str:
    match = _NOT_BASE64.search(text, start)
    if match is None:
        return _TRUNCATED
    advice = _ADVICE.get(match[0], "use A-Z, a-z, 0-9, + and /, padded with =")
    return f"is not base64 at character {offset + match.start() + 1} ({match[0]!r}): {advice}"


def _refused(pointer: str, detail: str, code: str) -> RequestRefused:
    return RequestRefused([FieldError(pointer, f"{pointer} {detail}", code)])
