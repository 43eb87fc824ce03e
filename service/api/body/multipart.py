"""Parse a multipart form (RFC 7578) as it streams in: files go to disk, fields to values."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool

from service.api.body.stream import blocks
from service.domain.errors import FieldError, RequestRefused, TooLarge
from service.domain.media import MEDIA_RULES, SAMPLES, field_of
from service.runtime.uploads import UploadArea, Uploads

_MAX_PARTS = 64
_FILES = tuple(name for name in MEDIA_RULES if name != "keyframes")
_LISTS = ("webhook_events", "prompts", SAMPLES)
_BRACKETS = re.compile(r"([a-z_]{1,64})\[([^\[\]]*)\]")
_KEYFRAME = re.compile(r"keyframes\[(\d)\]\[(frame|image)\]")


@dataclass
class Form:
    """Fields in the order sent; a file's field holds its placeholder, a key of `files`."""

    fields: list[tuple[str, str]] = field(default_factory=list)
    files: dict[str, Path] = field(default_factory=dict)

    def values(self) -> dict[str, Any]:
        """Return the fields as a JSON body would nest them; empty ones are skipped.

        `metadata[scene]` becomes an object, `webhook_events[]` or a repeated name a list, and
        `keyframes[0][frame]` a list of objects. One field may also hold all of it as JSON.
        """
        values: dict[str, Any] = {}
        for name, text in self.fields:
            if not text and name != "prompt":
                continue
            _add_field(values, name, text)
        if isinstance(values.get("keyframes"), dict):
            values["keyframes"] = [frame for _, frame in sorted(values["keyframes"].items())]
        return values


def is_form(request: Request) -> bool:
    return _content_type(request)[0] == b"multipart/form-data"


async def read_form(request: Request, area: UploadArea, uploads: Uploads) -> Form:
    """Parse the body. Raises RequestRefused naming an invalid part, TooLarge, and
    RequestValidationError for a malformed form."""
    boundary = _content_type(request)[1].get(b"boundary")
    if not boundary:
        raise _form_error("its Content-Type names no boundary")
    reader = _Reader(boundary, area, uploads)
    try:
        async for block in blocks(request):
            await run_in_threadpool(reader.write, block)
        return reader.finish()
    finally:
        reader.close()


class _Reader:
    """Callbacks of the parser, part by part."""

    def __init__(self, boundary: bytes, area: UploadArea, uploads: Uploads) -> None:
        self._area = area
        self._uploads = uploads
        self._form = Form()
        self._is_complete = False
        self._num_parts = 0
        self._fields_bytes = 0
        self._header, self._value, self._disposition = b"", b"", b""
        self._name = ""
        self._text = bytearray()
        self._file: BinaryIO | None = None
        self._has_filename = False
        self._num_left = 0  # bytes that this part may still have
        self._parser = _parser(boundary, self)

    def write(self, block: bytes) -> None:
        try:
            self._parser.write(block)
        except MultipartParseError:
            raise _form_error("it is malformed") from None

    def finish(self) -> Form:
        if not self._is_complete:
            raise _form_error("it is incomplete")
        return self._form

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    # Callbacks of the parser.

    def on_part_begin(self) -> None:
        self._num_parts += 1
        if self._num_parts > _MAX_PARTS:
            raise _form_error(f"it has more than {_MAX_PARTS} parts")
        self._disposition = b""

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header, self._value = b"", b""

    def on_headers_finished(self) -> None:
        options = parse_options_header(self._disposition)[1]
        if b"name" not in options:
            raise _form_error("a part has no name")
        self._name = options[b"name"].decode(errors="replace")
        if b"filename" in options:
            self._has_filename = options[b"filename"] != b""
            self._begin_file()
        else:
            self._text.clear()
            self._num_left = self._uploads.max_bytes - self._fields_bytes

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._num_left -= end - start
        if self._num_left < 0:
            subject = "fields have" if self._file is None else f"{self._name} has"
            max_bytes = self._max()
            raise TooLarge(f"the form's {subject} more than {max_bytes:,} bytes")
        if self._file is None:
            self._text += data[start:end]
        else:
            self._file.write(data[start:end])

    def on_part_end(self) -> None:
        if self._file is not None:
            is_empty = self._file.tell() == 0
            self._file.close()
            self._file = None
            if is_empty and not self._has_filename:  # a browser's field without a choice
                _, placeholder = self._form.fields.pop()
                del self._form.files[placeholder]
            return
        self._fields_bytes += len(self._text)
        try:
            self._form.fields.append((self._name, self._text.decode()))
        except UnicodeDecodeError:
            raise RequestRefused(
                [_field_error(self._name, "is not UTF-8", "invalid_text")]
            ) from None

    def on_end(self) -> None:
        self._is_complete = True

    def _begin_file(self) -> None:
        if not _may_be_file(self._name):
            detail = f"must not be a file; files are: {', '.join(_FILES)}, keyframes[0][image], …"
            raise RequestRefused([_field_error(self._name, detail, "unexpected_file")])
        # No base64, URL or id looks like this, so a plain field cannot name a file.
        placeholder = f"file:{self._num_parts}"
        path = self._area.file(f"part-{self._num_parts}")
        self._form.fields.append((self._name, placeholder))
        self._form.files[placeholder] = path
        self._file = path.open("wb")
        self._num_left = self._max()

    def _max(self) -> int:
        if self._file is None:
            return self._uploads.max_bytes
        return self._uploads.max_bytes_of(self._name)


def _parser(boundary: bytes, reader: _Reader) -> MultipartParser:
    names = (
        *("on_part_begin", "on_header_field", "on_header_value", "on_header_end"),
        *("on_headers_finished", "on_part_data", "on_part_end", "on_end"),
    )
    callbacks: dict[str, Callable[..., None]] = {name: getattr(reader, name) for name in names}
    return MultipartParser(boundary, callbacks)  # type: ignore[arg-type]


def _add_field(values: dict[str, Any], name: str, text: str) -> None:
    if (keyframe := _KEYFRAME.fullmatch(name)) is not None:
        container = _container(_container(values, "keyframes", {}, name), keyframe[1], {}, name)
        if keyframe[2] in container:
            raise RequestRefused([_field_error(name, "is sent twice", "given_twice")])
        container[keyframe[2]] = text
        return
    match = _BRACKETS.fullmatch(name)
    if match is None and name in _LISTS and not text.startswith("["):
        values.setdefault(name, []).append(text)
    elif match is None:
        if name in values:
            raise RequestRefused([_field_error(name, "is sent twice", "given_twice")])
        values[name] = (
            _json_or_text(text) if name in ("metadata", "keyframes", "captions", *_LISTS) else text
        )
    elif match[2]:
        _container(values, match[1], {}, name)[match[2]] = text
    else:
        _container(values, match[1], [], name).append(text)


def _may_be_file(name: str) -> bool:
    keyframe = _KEYFRAME.fullmatch(name)
    is_image = keyframe is not None and keyframe[2] == "image"
    return name in _FILES or field_of(name) == SAMPLES or is_image


def _container(values: dict[str, Any], name: str, empty: Any, whole: str) -> Any:
    container = values.setdefault(name, empty)
    if type(container) is not type(empty):
        raise RequestRefused([_field_error(whole, "is sent in two ways", "given_twice")])
    return container


def _json_or_text(text: str) -> Any:
    """Return invalid JSON as text: validation then names the type that was expected."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _content_type(request: Request) -> tuple[bytes, dict[bytes, bytes]]:
    return parse_options_header(request.headers.get("content-type"))


def _field_error(name: str, detail: str, code: str) -> FieldError:
    pointer = "/" + name[:64].replace("~", "~0").replace("/", "~1")
    return FieldError(pointer, f"{name[:64]}: {detail}", code)


def _form_error(reason: str) -> RequestValidationError:
    return RequestValidationError([{"type": "form_invalid", "loc": ("body",), "msg": reason}])
