"""From a body, JSON or form, to a validated ask; its pictures and films wait as files beside it."""

import copy
import hashlib
import json
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from pydantic.json_schema import models_json_schema
from starlette.concurrency import run_in_threadpool

from service.api.auth import ContextDep, RequestContext, admitted
from service.api.body.large_json import Span, extract_long_strings
from service.api.body.multipart import is_form, read_form
from service.api.body.stream import receive
from service.domain.errors import FieldError, RequestRefused, TooLarge
from service.domain.media import MAX_PIXELS, NEEDS, MediaRef, Role
from service.domain.request import VideoOptions, VideoParams
from service.media import sniff
from service.media.data_uri import decode_inline, decode_pieces
from service.runtime.uploads import UploadArea, Uploads

A = TypeVar("A", bound=VideoOptions)


@dataclass(frozen=True)
class ParsedBody(Generic[A]):
    """An ask, and the files that came with it.

    Where there is a file, the ask's own text for it is `sha256:…`: so two asks are the same when
    their files are, however they were sent.
    """

    ask: A
    area: UploadArea  # where the files lie
    files: dict[Role, tuple[Path, MediaRef]] = field(default_factory=dict)


async def video_ask(
    request: Request, context: ContextDep
) -> AsyncIterator[ParsedBody[VideoParams]]:
    """Read only once the key is known to be good: strangers fill no disk."""
    with context.runtime.uploads.area(context.key.id) as area:
        yield await _whole(request, context, area, VideoParams)


async def changes(request: Request, context: ContextDep) -> AsyncIterator[ParsedBody[VideoOptions]]:
    """The same where every field may be left out, and the body too."""
    with context.runtime.uploads.area(context.key.id) as area:
        yield await _whole(request, context, area, VideoOptions)


VideoParamsDep = Annotated[ParsedBody[VideoParams], Depends(video_ask)]
ChangesDep = Annotated[ParsedBody[VideoOptions], Depends(changes)]


def body_of(model: type[VideoOptions]) -> dict[str, Any]:
    """What the API's description says of such a body."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    form = {"$ref": f"#/components/schemas/{model.__name__}Form"}
    content = {"application/json": {"schema": schema}, "multipart/form-data": {"schema": form}}
    return {"requestBody": {"required": model is VideoParams, "content": content}}


def body_schemas() -> dict[str, Any]:
    """The schemas that `body_of` names."""
    names = (VideoParams.__name__, VideoOptions.__name__)
    _, schema = models_json_schema(
        [(VideoParams, "validation"), (VideoOptions, "validation")],
        ref_template="#/components/schemas/{model}",
    )
    schemas: dict[str, Any] = schema["$defs"]
    return schemas | {f"{name}Form": _form_schema(name, schemas[name]) for name in names}


def _form_schema(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """A form knows no null, and a picture or film may be a file in it."""
    schema = copy.deepcopy(schema) | {"title": f"{name}Form"}
    for name, field_schema in schema["properties"].items():
        kinds = [kind for kind in field_schema.get("anyOf", ()) if kind != {"type": "null"}]
        if name in NEEDS:
            kinds.insert(0, {"type": "string", "format": "binary"})
        if kinds:
            del field_schema["default"]
            field_schema["anyOf"] = kinds
    return schema


async def _whole(
    request: Request, context: RequestContext, area: UploadArea, model: type[A]
) -> ParsedBody[A]:
    asked = await context.runtime.uploads.in_time(_read(request, context, area, model))
    await admitted(request)  # the body may have taken minutes
    return asked


async def _read(
    request: Request, context: RequestContext, area: UploadArea, model: type[A]
) -> ParsedBody[A]:
    uploads = context.runtime.uploads
    if is_form(request):
        context.runtime.disk_space.check()
        form = await read_form(request, area, uploads)
        ask = _validated(model, form.values(), texts=True)
        return await run_in_threadpool(_settled, ask, form.files, area, uploads)
    body = await receive(request, area, uploads.max_bytes)
    if isinstance(body, bytes):
        ask = _validated(model, _json(request, body, model))
        if not ask.media_texts:
            return ParsedBody(ask, area)
        return await run_in_threadpool(_settled, ask, {}, area, uploads)
    context.runtime.disk_space.check()
    name = secrets.token_hex(8)
    rest, spans = await run_in_threadpool(extract_long_strings, body, name, uploads.max_bytes)
    ask = _validated(model, _json(request, rest, model))
    if not spans.keys() <= set(ask.media_texts.values()):
        raise TooLarge("only pictures and films may be so long")
    return await run_in_threadpool(_settled, ask, spans, area, uploads)


def _json(request: Request, body: bytes, model: type[VideoOptions]) -> Any:
    if not body and model is VideoOptions:
        return {}
    if not body:
        raise _invalid([{"type": "missing", "loc": (), "msg": ""}])
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise _invalid([{"type": "no_json_nor_form", "loc": (), "msg": ""}])
    try:
        found = json.loads(body)
    except json.JSONDecodeError as error:
        raise _invalid([{"type": "json_invalid", "loc": (error.pos,), "msg": ""}]) from None
    except UnicodeDecodeError:
        raise _invalid([{"type": "not_utf8", "loc": (), "msg": ""}]) from None
    except (ValueError, RecursionError):  # a number of thousands of digits; too deep
        raise _invalid([{"type": "json_invalid", "loc": (0,), "msg": ""}]) from None
    return {} if found is None and model is VideoOptions else found


def _validated(model: type[A], values: Any, *, texts: bool = False) -> A:
    """Of a form every value is a text, and may stand for what JSON writes without quotes."""
    try:
        return model.model_validate(values, strict=not texts)
    except ValidationError as error:
        raise _invalid(error.errors(include_url=False, include_context=False)) from None


def _invalid(found: Iterable[Any]) -> RequestValidationError:
    return RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in found])


def _settled(
    ask: A, sent: Mapping[str, Path | Span], area: UploadArea, uploads: Uploads
) -> ParsedBody[A]:
    """Every file is on the disk, is what it should be, and is known by its hash."""
    files: dict[Role, tuple[Path, MediaRef]] = {}
    for role, text in ask.media_texts.items():
        if "://" in text[:32] or text.startswith("job_"):
            continue
        path = area.file(role.replace("/", "-"))
        path = _on_disk(text, sent.get(text), path, uploads.max_bytes_of(role), role)
        files[role] = (path, _upload(path, role))
    known = {role: f"sha256:{ref.sha256}" for role, (_, ref) in files.items()}
    return ParsedBody(ask.with_media_texts(known), area, files)


def _on_disk(text: str, sent: Path | Span | None, path: Path, max_bytes: int, role: Role) -> Path:
    if isinstance(sent, Path):
        return sent
    if sent is None:
        path.write_bytes(decode_inline(text, max_bytes=max_bytes, pointer=f"/{role}").content)
        return path
    if sent.length // 2 > max_bytes:  # far too long even if every other character is an escape
        raise TooLarge(f"/{role} holds more than {max_bytes:,} bytes")
    with path.open("wb") as file:
        for block in decode_pieces(sent.pieces(), max_bytes=max_bytes, pointer=f"/{role}"):
            file.write(block)
    return path


_TAKEN = {"image": "PNG, JPEG, WebP, HEIC or AVIF", "video": "MP4, MOV, WebM or Matroska"}


def _upload(path: Path, role: Role) -> MediaRef:
    """Raises RequestRefused for what is by its first bytes no picture, or no film."""
    kind = "video" if role == "video" else "image"
    media_type = sniff.media_type(path)
    if media_type is None or not media_type.startswith(f"{kind}/"):
        detail = f"{role} is not {_TAKEN[kind]}"
        if kind == "image" and media_type is not None:
            detail += "; a film goes into video"
        if kind == "video" and media_type is not None:
            detail += f"; {media_type} goes into image"
        raise RequestRefused([FieldError(f"/{role}", detail, "unsupported_media_type")])
    width, height = sniff.image_size(path) or (None, None)
    if width and height and width * height > MAX_PIXELS:
        detail = f"{role} is {width}x{height}; at most {MAX_PIXELS:,} pixels are taken"
        raise RequestRefused([FieldError(f"/{role}", detail, "too_many_pixels")])
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return MediaRef(
        source="upload",
        media_type=media_type,
        size_bytes=path.stat().st_size,
        sha256=sha256,
        width=width,
        height=height,
    )
