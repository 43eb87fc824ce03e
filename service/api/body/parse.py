"""Parse a JSON or form body into validated params, with its inputs as files."""

import copy
import hashlib
import json
import secrets
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from pydantic.json_schema import models_json_schema
from starlette.concurrency import run_in_threadpool

from service.api.body.large_json import Span, extract_long_strings
from service.api.body.multipart import is_form, read_form
from service.api.body.stream import receive
from service.api.deps import ContextDep, JobPath, RequestContext, recheck_key
from service.domain.avatar import AvatarParams
from service.domain.errors import FieldError, NotFound, RequestRefused, TooLarge
from service.domain.ids import job_id_of
from service.domain.kinds import KINDS
from service.domain.likeness import NewAvatar, NewVoice
from service.domain.media import MAX_PIXELS, MEDIA_RULES, SAMPLES, MediaRef, Role, kind_of
from service.domain.request import JobOptions, MediaBody, VideoOptions, VideoParams
from service.lifecycle.inputs import Input
from service.media import sniff
from service.media.data_uri import decode_inline, decode_pieces
from service.media.sound_length import sound_seconds
from service.runtime.runtime import Runtime
from service.runtime.uploads import UploadArea, Uploads

P = TypeVar("P", bound=MediaBody)
P_co = TypeVar("P_co", bound=MediaBody, covariant=True)

_OPTIONAL: set[type[MediaBody]] = {rule.options for rule in KINDS.values()}
_BODIES: tuple[type[MediaBody], ...] = (
    *(model for rule in KINDS.values() for model in (rule.params, rule.options)),
    *(NewAvatar, NewVoice),
)


@dataclass(frozen=True)
class ParsedBody(Generic[P_co]):
    """Validated params, and the files sent with them.

    A file's own field becomes `sha256:…`, so equal files give equal params however they were sent.
    """

    params: P_co
    area: UploadArea  # holds the files
    files: dict[Role, Input] = field(default_factory=dict)
    empty: frozenset[str] = frozenset()  # fields of a form without a value


def body_parser(*models: type[P]) -> Callable[..., AsyncIterator[ParsedBody[P]]]:
    """Return a dependency that parses a body as one of `models`, after the API key was checked:
    strangers fill no disk."""

    async def parse_body(request: Request, context: ContextDep) -> AsyncIterator[ParsedBody[P]]:
        with context.runtime.uploads.area(context.key.id) as area:
            yield await _parse(request, context, area, *models)

    return parse_body


async def retry_body(
    job_id: JobPath, request: Request, context: ContextDep
) -> AsyncIterator[ParsedBody[JobOptions]]:
    """Parse the body of a retry, by the kind of its job: every field is optional, and so is the
    body."""
    kind: type[JobOptions] = VideoOptions
    with suppress(NotFound):  # reported where it is retried
        job = await context.runtime.find_job(job_id_of(job_id), context.scope)
        kind = KINDS[job.request.kind].options
    with context.runtime.uploads.area(context.key.id) as area:
        yield await _parse(request, context, area, kind)


VideoParamsDep = Annotated[ParsedBody[VideoParams], Depends(body_parser(VideoParams))]
AvatarParamsDep = Annotated[ParsedBody[AvatarParams], Depends(body_parser(AvatarParams))]
EstimateDep = Annotated[
    ParsedBody[JobOptions], Depends(body_parser(*(rule.params for rule in KINDS.values())))
]
NewAvatarDep = Annotated[ParsedBody[NewAvatar], Depends(body_parser(NewAvatar))]
NewVoiceDep = Annotated[ParsedBody[NewVoice], Depends(body_parser(NewVoice))]
RetryDep = Annotated[ParsedBody[JobOptions], Depends(retry_body)]


def body_of(*models: type[MediaBody]) -> dict[str, Any]:
    """Return the OpenAPI `requestBody` of a route that takes one of `models`, as JSON or a form."""
    schemas = {
        content: [{"$ref": f"#/components/schemas/{model.__name__}{suffix}"} for model in models]
        for content, suffix in (("application/json", ""), ("multipart/form-data", "Form"))
    }
    content = {
        name: {"schema": among[0] if len(among) == 1 else {"anyOf": among}}
        for name, among in schemas.items()
    }
    is_required = not set(models) & _OPTIONAL
    return {"requestBody": {"required": is_required, "content": content}}


def body_schemas() -> dict[str, Any]:
    """Return the component schemas that `body_of` refers to."""
    names = [model.__name__ for model in _BODIES]
    _, schema = models_json_schema(
        [(model, "validation") for model in _BODIES],
        ref_template="#/components/schemas/{model}",
    )
    schemas: dict[str, Any] = schema["$defs"]
    return schemas | {f"{name}Form": _form_schema(name, schemas[name]) for name in names}


_OF_A_TEXT = ("type", "minLength")  # of a required field, which has no choice of kinds


def _form_schema(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Derive the form's schema: no null, and inputs may be files."""
    schema = copy.deepcopy(schema) | {"title": f"{name}Form"}
    for name, field_schema in schema["properties"].items():
        if name == SAMPLES:
            field_schema["items"] = {"type": "string", "format": "binary"}
        kinds = [kind for kind in field_schema.get("anyOf", ()) if kind != {"type": "null"}]
        if name in MEDIA_RULES:
            text = {k: field_schema.pop(k) for k in _OF_A_TEXT if k in field_schema}
            kinds = [{"type": "string", "format": "binary"}, *(kinds or [text])]
        if kinds:
            field_schema.pop("default", None)
            field_schema["anyOf"] = kinds
    return schema


async def _parse(
    request: Request, context: RequestContext, area: UploadArea, *models: type[P]
) -> ParsedBody[P]:
    body = await context.runtime.uploads.with_timeout(_read(request, context, area, models))
    await recheck_key(request, context)  # the body may have taken minutes
    return body


async def _read(
    request: Request, context: RequestContext, area: UploadArea, models: tuple[type[P], ...]
) -> ParsedBody[P]:
    uploads = context.runtime.uploads
    if is_form(request):
        parsed_body, _ = await read_form_body(request, context.runtime, area, models)
        return parsed_body
    body = await receive(request, area, uploads.max_bytes)
    if isinstance(body, bytes):
        params = _validate(models, _json(request, body, models))
        if not params.media_texts:
            return ParsedBody(params, area)
        return await run_in_threadpool(_with_files, params, {}, area, uploads)
    context.runtime.disk_space.check()
    name = secrets.token_hex(8)
    rest, spans = await run_in_threadpool(extract_long_strings, body, name, uploads.max_bytes)
    params = _validate(models, _json(request, rest, models))
    if not spans.keys() <= set(params.media_texts.values()):
        raise TooLarge("only images, videos and recordings may be this long")
    return await run_in_threadpool(_with_files, params, spans, area, uploads)


async def read_form_body(
    request: Request,
    runtime: Runtime,
    area: UploadArea,
    models: tuple[type[P], ...],
    own_fields: Collection[str] = (),
) -> tuple[ParsedBody[P], dict[str, Any]]:
    """Parse a form; return beside it its `own_fields`, which are not the model's."""
    runtime.disk_space.check()
    form = await read_form(request, area, runtime.uploads)
    values = form.values()
    others = {name: values.pop(name) for name in own_fields if name in values}
    params = _validate(models, values, lenient=True)
    parsed_body = await run_in_threadpool(_with_files, params, form.files, area, runtime.uploads)
    empty = frozenset(name for name, text in form.fields if not text)
    return replace(parsed_body, empty=empty), others


def _json(request: Request, body: bytes, models: tuple[type[MediaBody], ...]) -> Any:
    is_optional = not _OPTIONAL.isdisjoint(models)
    if not body and is_optional:
        return {}
    if not body:
        raise invalid_body([{"type": "missing", "loc": (), "msg": ""}])
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise invalid_body([{"type": "no_json_nor_form", "loc": (), "msg": ""}])
    try:
        values = json.loads(body)
    except json.JSONDecodeError as error:
        raise invalid_body([{"type": "json_invalid", "loc": (error.pos,), "msg": ""}]) from None
    except UnicodeDecodeError:
        raise invalid_body([{"type": "not_utf8", "loc": (), "msg": ""}]) from None
    except (ValueError, RecursionError):  # a number of thousands of digits; too deep
        raise invalid_body([{"type": "json_invalid", "loc": (0,), "msg": ""}]) from None
    return {} if values is None and is_optional else values


def _validate(models: tuple[type[P], ...], values: Any, *, lenient: bool = False) -> P:
    """Validate as the first of `models`, or as another with a field that the first has not, where
    one is given; leniently for a form, whose values are all text: `"24"` may be a number."""
    first, *others = models
    names = values.keys() - first.model_fields.keys() if isinstance(values, Mapping) else ()
    model = next((each for each in others if not each.model_fields.keys().isdisjoint(names)), first)
    try:
        return model.model_validate(values, strict=not lenient)
    except ValidationError as error:
        # An unknown field is answered with the nearest of this model's own.
        problems = error.errors(include_url=False)
        raise invalid_body({**e, "fields": model.model_fields} for e in problems) from None


def invalid_body(errors: Iterable[Any]) -> RequestValidationError:
    """Return the error of a body with these errors of pydantic."""
    return RequestValidationError([{**e, "loc": ("body", *e["loc"])} for e in errors])


def _with_files(
    params: P, sources: Mapping[str, Path | Span], area: UploadArea, uploads: Uploads
) -> ParsedBody[P]:
    """Write every input to disk, check its type, and replace its field by its hash."""
    files: dict[Role, Input] = {}
    for role, text in params.media_texts.items():
        if "://" in text[:32] or text.startswith("job_"):
            continue
        path = area.file(role.replace("/", "-"))
        path = _write_file(text, sources.get(text), path, uploads.max_bytes_of(role), role)
        files[role] = Input(_inspect(path, role, type(params)), path)
    hashes = {role: f"sha256:{each.ref.sha256}" for role, each in files.items()}
    return ParsedBody(params.with_media_texts(hashes), area, files)


def _write_file(
    text: str, source: Path | Span | None, path: Path, max_bytes: int, role: Role
) -> Path:
    if isinstance(source, Path):
        return source
    if source is None:
        path.write_bytes(decode_inline(text, max_bytes=max_bytes, pointer=f"/{role}"))
        return path
    if source.length // 2 > max_bytes:  # too long even if every other character is an escape
        raise TooLarge(f"/{role} has more than {max_bytes:,} bytes")
    with path.open("wb") as file:
        for block in decode_pieces(source.pieces(), max_bytes=max_bytes, pointer=f"/{role}"):
            file.write(block)
    return path


_FORMATS = {
    "image": "PNG, JPEG, WebP, HEIC or AVIF",
    "video": "MP4, MOV, WebM or Matroska",
    "audio": "WAV, MP3, M4A, AAC, FLAC, Ogg, AIFF, CAF, AMR, WMA, or a video with sound",
}


def _inspect(path: Path, role: Role, model: type[MediaBody]) -> MediaRef:
    """Describe a file by its first bytes. Raises RequestRefused for one of another type."""
    kind = kind_of(role)
    media_type = sniff.media_type(path)
    kinds = ("audio/", "video/") if kind == "audio" else (f"{kind}/",)
    if media_type is None or not media_type.startswith(kinds):
        detail = f"{role} is not {_FORMATS[kind]}{_other_field(kind, media_type, model)}"
        raise RequestRefused([FieldError(f"/{role}", detail, "unsupported_media_type")])
    width, height = sniff.image_size(path) or (None, None)
    if width and height and width * height > MAX_PIXELS:
        detail = f"{role} is {width}x{height}; the limit is {MAX_PIXELS:,} pixels"
        raise RequestRefused([FieldError(f"/{role}", detail, "too_many_pixels")])
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return MediaRef(
        source="upload",
        media_type=media_type,
        size_bytes=path.stat().st_size,
        sha256=sha256,
        seconds=sound_seconds(path) if kind == "audio" else None,
        width=width,
        height=height,
    )


def _other_field(kind: str, media_type: str | None, model: type[MediaBody]) -> str:
    """Return where a file of this type belongs, if another field of the body takes it."""
    if media_type is None:
        return ""
    if kind == "image" and media_type.startswith("video/") and "video" in model.model_fields:
        return "; send a video in video"
    is_image = kind == "video" and media_type.startswith("image/")
    return f"; send {media_type} in image" if is_image else ""
