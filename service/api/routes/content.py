"""Serve a job's files, whole or by range, with an API key or by a signed link."""

import re
from datetime import UTC, timedelta
from email.utils import format_datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, RedirectResponse

from service.api.deps import JobPath, RuntimeDep, authenticate, bearer, links
from service.api.preconditions import is_unmodified
from service.api.schemas.responses import header_docs, problem_docs
from service.api.signed_links import SignedLinks
from service.domain.artifact import ARTIFACT_RULES, Variant
from service.domain.attempt import Artifact, ReadMethod
from service.domain.errors import Conflict, NotFound, Unauthenticated
from service.domain.ids import JobId, job_id_of
from service.domain.job import Job, Scope
from service.runtime.runtime import Runtime
from service.store import jobs

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_LINK_TTL = timedelta(hours=1)  # of a signed bucket URL: long enough for a slow download

_RANGE = re.compile(r"(?!-$)([0-9]{0,18})-([0-9]{0,18})")  # more digits than any video needs

_BYTES = {"schema": {"type": "string", "format": "binary"}}
_MEDIA = {rule.media_type: _BYTES for rule in ARTIFACT_RULES.values()}
_HEADERS = (
    *("ETag", "Cache-Control", "Last-Modified", "Accept-Ranges"),
    *("Content-Length", "Content-Disposition"),
)


@router.head("/{job_id}/content", include_in_schema=False)
@router.get(
    "/{job_id}/content",
    response_class=FileResponse,
    responses={
        200: {"description": "The file.", "content": _MEDIA, **header_docs(*_HEADERS)},
        206: {
            "description": "The requested range.",
            "content": _MEDIA,
            **header_docs(*_HEADERS, "Content-Range"),
        },
        302: {
            "description": "Redirect to a signed URL of the bucket, where videos are kept in one.",
            **header_docs("Location", "ETag", "Cache-Control"),
        },
        304: {"description": "Unchanged.", **header_docs("ETag", "Cache-Control", "Last-Modified")},
        416: {"description": "No such range.", **header_docs("Content-Range")},
        **problem_docs(401, 404, "no_content", 412, 422),
    },
    openapi_extra={"security": [{"apiKey": []}, {}]},  # a signed link needs no key
)
async def get_content(
    job_id: JobPath,
    request: Request,
    runtime: RuntimeDep,
    variant: Variant = "video",
    expires: Annotated[int | None, Query(description="Part of a signed link.")] = None,
    signature: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:
    """A file of the finished job: its video, thumbnail, last frame or captions. Supports byte
    ranges."""
    id_ = job_id_of(job_id)
    if expires is not None and signature is not None:
        job = await _job_by_link(runtime, links(request, runtime), id_, variant, expires, signature)
    else:
        key = await authenticate(runtime, bearer(request) or "")
        if key is None:
            raise Unauthenticated("send an API key, or use the signed link of the job's result")
        job = await runtime.find_job(id_, Scope(key.id))
    _drop_invalid_range(request)
    return await _respond(runtime, job, variant, request)


async def _job_by_link(
    runtime: Runtime,
    signed_links: SignedLinks,
    job_id: JobId,
    variant: Variant,
    expires: int,
    signature: str,
) -> Job:
    if not signed_links.matches(job_id, variant, expires, signature, runtime.clock()):
        raise Unauthenticated(
            "this link is invalid or has expired; get the job again for a new one"
        )
    job = await runtime.read(lambda tx: jobs.get(tx, job_id))
    if job is None:
        raise NotFound(f"no job {job_id}")
    return job


def _drop_invalid_range(request: Request) -> None:
    """Remove a `Range` header that HTTP says to ignore: malformed, of another unit, or not GET."""
    if request.method != "GET" or not _is_range_header(request.headers.get("range", "")):
        headers = [(name, text) for name, text in request.scope["headers"] if name != b"range"]
        request.scope["headers"] = headers


def _is_range_header(text: str) -> bool:
    """Validate a `Range` header by RFC 9110, section 14.1: empty list elements are allowed."""
    unit, _, rest = text.partition("=")
    ranges = [part.strip() for part in rest.split(",") if part.strip()]
    return unit.strip().lower() == "bytes" and bool(ranges) and all(map(_is_range, ranges))


def _is_range(text: str) -> bool:
    match = _RANGE.fullmatch(text)
    if match is None:
        return False
    first, last = match.groups()
    return not (first and last) or int(first) <= int(last)


async def _respond(runtime: Runtime, job: Job, variant: Variant, request: Request) -> Response:
    artifact = _artifact(job, variant)
    assert job.finished_at is not None, "a job with a result is final"
    headers = {
        "Last-Modified": format_datetime(job.finished_at.astimezone(UTC), usegmt=True),
        "ETag": f'"{artifact.sha256}"',
        "Cache-Control": "private, max-age=86400, immutable",
        "Cross-Origin-Resource-Policy": "cross-origin",
        "X-Content-Type-Options": "nosniff",
    }
    if is_unmodified(request.headers, headers["ETag"], job.finished_at):
        return Response(status_code=304, headers=headers)
    method: ReadMethod = "HEAD" if request.method == "HEAD" else "GET"
    name = f"{job.id}-{artifact.key.rpartition('/')[2]}"
    link = runtime.artifacts.link(artifact.key, filename=name, lifetime=_LINK_TTL, method=method)
    if link is not None:
        # The URL expires before a cache would revalidate, so the redirect must not be cached.
        return RedirectResponse(link, 302, headers={**headers, "Cache-Control": "no-store"})
    path = await run_in_threadpool(runtime.artifacts.path, artifact.key)
    try:
        stat = None if path is None else path.stat()
    except FileNotFoundError:
        stat = None  # deleted just now
    if path is None or stat is None:
        raise NotFound(f"the {variant} of {job.id} was deleted")
    return FileResponse(
        path,
        headers=headers,
        stat_result=stat,
        media_type=artifact.media_type,
        filename=name,
        content_disposition_type="inline",
    )


def _artifact(job: Job, variant: Variant) -> Artifact:
    if job.result is None:
        reason = "has no video" if job.state.final else "is not finished yet"
        raise Conflict(f"job {job.id} is {job.state} and {reason}", code="no_content")
    artifact = job.result.artifacts.get(variant)
    if artifact is None:
        raise Conflict(f"job {job.id} has no {variant}", code="no_content")
    return artifact
