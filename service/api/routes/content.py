"""The bytes: whole or by range, with a key or by a signed link."""

import re
from collections.abc import Callable
from datetime import UTC, timedelta
from email.utils import format_datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, RedirectResponse

from service.api.auth import authenticate, bearer, links
from service.api.deps import RuntimeDep
from service.api.path_params import JobPath, job_id_of
from service.api.preconditions import unchanged
from service.api.schemas.headers import sent
from service.api.schemas.problems import documented
from service.api.signed_links import SignedLinks, Variant
from service.domain.artifact import Artifact
from service.domain.attempt import VideoFacts
from service.domain.errors import Conflict, NotFound, Unauthenticated
from service.domain.ids import JobId
from service.domain.job import Job
from service.domain.ports import ReadMethod
from service.runtime.runtime import Runtime
from service.store import jobs

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_LINK = timedelta(hours=1)  # of a link into a bucket: long enough for the slowest download

_RANGE = re.compile(r"(?!-$)([0-9]{0,18})-([0-9]{0,18})")  # no video has more bytes than that

_BYTES = {"schema": {"type": "string", "format": "binary"}}
_MEDIA = {"video/mp4": _BYTES, "image/jpeg": _BYTES, "image/png": _BYTES}
_SENT = (
    *("ETag", "Cache-Control", "Last-Modified", "Accept-Ranges"),
    *("Content-Length", "Content-Disposition"),
)


@router.head("/{job_id}/content", include_in_schema=False)
@router.get(
    "/{job_id}/content",
    response_class=FileResponse,
    responses={
        200: {"description": "The bytes.", "content": _MEDIA, **sent(*_SENT)},
        206: {
            "description": "The range that was asked for.",
            "content": _MEDIA,
            **sent(*_SENT, "Content-Range"),
        },
        302: {
            "description": "To a signed link into the bucket, where clips are kept in one.",
            **sent("Location", "ETag", "Cache-Control"),
        },
        304: {"description": "Unchanged.", **sent("ETag", "Cache-Control", "Last-Modified")},
        416: {"description": "No such range.", **sent("Content-Range")},
        **documented(401, 404, "no_content", 412, 422),
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
    """The video, its thumbnail or its last frame. Answers ranges, as players and renders want."""
    known = job_id_of(job_id)
    if expires is not None and signature is not None:
        job = await _by_link(runtime, links(request, runtime), known, variant, expires, signature)
    else:
        key = await authenticate(runtime, bearer(request) or "")
        if key is None:
            raise Unauthenticated("send an API key, or use the signed link of the job's result")
        job = await runtime.find_job(known, key.id)
    _ignore_other_ranges(request)
    return await _bytes(runtime, job, variant, request)


async def _by_link(
    runtime: Runtime,
    known: SignedLinks,
    job_id: JobId,
    variant: Variant,
    expires: int,
    signature: str,
) -> Job:
    if not known.matches(job_id, variant, expires, signature, runtime.clock()):
        raise Unauthenticated("this link is not one of ours, or has expired; get the job anew")
    job = await runtime.read(lambda tx: jobs.get(tx, job_id))
    if job is None:
        raise NotFound(f"no job {job_id}")
    return job


def _ignore_other_ranges(request: Request) -> None:
    """HTTP knows ranges for GET alone, and a unit that a server does not know is no range; nor is
    what is not well formed."""
    if request.method != "GET" or not _well_formed(request.headers.get("range", "")):
        kept = [(name, text) for name, text in request.scope["headers"] if name != b"range"]
        request.scope["headers"] = kept


def _well_formed(text: str) -> bool:
    """By RFC 9110, section 14.1: a list whose empty elements do not count."""
    unit, _, listed = text.partition("=")
    ranges = [part.strip() for part in listed.split(",") if part.strip()]
    return unit.strip().lower() == "bytes" and bool(ranges) and all(map(_one_range, ranges))


def _one_range(text: str) -> bool:
    found = _RANGE.fullmatch(text)
    if found is None:
        return False
    first, last = found.groups()
    return not (first and last) or int(first) <= int(last)


async def _bytes(runtime: Runtime, job: Job, variant: Variant, request: Request) -> Response:
    artifact = _artifact(job, variant)
    assert job.finished_at is not None, "a job with a result is final"
    headers = {
        "Last-Modified": format_datetime(job.finished_at.astimezone(UTC), usegmt=True),
        "ETag": f'"{artifact.sha256}"',
        "Cache-Control": "private, max-age=86400, immutable",
        "Cross-Origin-Resource-Policy": "cross-origin",
        "X-Content-Type-Options": "nosniff",
    }
    if unchanged(request.headers, headers["ETag"], job.finished_at):
        return Response(status_code=304, headers=headers)
    method: ReadMethod = "HEAD" if request.method == "HEAD" else "GET"
    name = f"{job.id}-{artifact.key.rpartition('/')[2]}"
    link = runtime.artifacts.link(artifact.key, filename=name, lifetime=_LINK, method=method)
    if link is not None:
        # The link dies before a cache would ask again, so that it must not be kept.
        return RedirectResponse(link, 302, headers={**headers, "Cache-Control": "no-store"})
    path = await run_in_threadpool(runtime.artifacts.path, artifact.key)
    try:
        found = None if path is None else path.stat()
    except FileNotFoundError:
        found = None  # deleted at this very moment
    if path is None or found is None:
        raise NotFound(f"the {variant} of {job.id} is gone")
    return FileResponse(
        path,
        headers=headers,
        stat_result=found,
        media_type=artifact.media_type,
        filename=name,
        content_disposition_type="inline",
    )


def _artifact(job: Job, variant: Variant) -> Artifact:
    if job.result is None:
        why = "has no video" if job.state.final else "is not finished yet"
        raise Conflict(f"job {job.id} is {job.state} and {why}", code="no_content")
    return _VARIANTS[variant](job.result)


_VARIANTS: dict[Variant, Callable[[VideoFacts], Artifact]] = {
    "video": lambda facts: facts.video,
    "thumbnail": lambda facts: facts.thumbnail,
    "last_frame": lambda facts: facts.last_frame,
}
