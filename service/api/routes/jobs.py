"""Look at jobs, wait for them, cancel, retry, delete."""

import re
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, model_validator
from starlette.concurrency import run_in_threadpool

from service.api.auth import ContextDep
from service.api.body.parse import ChangesDep, ParsedBody, body_of
from service.api.media_refs import kept_texts
from service.api.path_params import JobPath, job_id_of
from service.api.responses import json_answer, view, wait_final
from service.api.schemas.headers import OF_JOB, OF_SUBMIT, sent
from service.api.schemas.jobs import AnyJob, Deleted, InlineVideo, JobList
from service.api.schemas.problems import documented
from service.api.submit import (
    SUBMIT,
    IdempotencyKey,
    Prefer,
    SubmitRequest,
    accept,
    answered,
    earlier,
    idempotency,
)
from service.domain.errors import Conflict, FieldError, NotFound, RequestRefused
from service.domain.ids import JobId
from service.domain.job import Job, JobFilter, JobState
from service.domain.media import NEEDS, keyframe_role
from service.domain.request import VideoOptions, VideoParams
from service.domain.text import METADATA_LABEL, Label
from service.lifecycle.cancel import cancel
from service.lifecycle.remove import check_final, remove
from service.log import Log
from service.store import jobs

log = Log(__name__)
router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_METADATA = re.compile(rf"metadata\[({METADATA_LABEL})\]")
_MAX_LABELS = 16


# Refused by us and not by pydantic, in words that name all states.
_State = Annotated[str, WithJsonSchema({"type": "string", "enum": list(JobState)})]
# A parameter that has its name in brackets is one that FastAPI cannot tell of.
_METADATA_PARAMETER = {
    "name": "metadata",
    "in": "query",
    "description": "Only jobs with all of these labels: `metadata[scene]=12`.",
    "style": "deepObject",
    "explode": True,
    "schema": {
        "type": "object",
        "maxProperties": _MAX_LABELS,
        "propertyNames": {"pattern": f"^{METADATA_LABEL}$"},
        "additionalProperties": {"type": "string", "maxLength": 500},
    },
}


class ListQuery(BaseModel):
    """Which jobs to list; `metadata[name]=text` may be given any number of times."""

    model_config = ConfigDict(extra="allow")

    limit: int = Field(default=20, ge=1, le=100)
    after: str | None = Field(default=None, description="The `last_id` of the page before.")
    order: Literal["asc", "desc"] = "desc"
    status: list[_State] | None = Field(
        default=None, description="Several as `queued,running`, or one after the other."
    )
    kind: Literal["video"] | None = None
    model: Label | None = None
    ids: list[str] | None = Field(
        default=None,
        max_length=100,
        description="Up to 100 job ids, separated by commas or one after the other.",
    )

    @model_validator(mode="after")
    def _only_metadata_besides(self) -> Self:
        extra = self.model_extra or {}
        for name, text in extra.items():
            if not _METADATA.fullmatch(name):
                raise ValueError(f"no such parameter: {name[:80]!r}")
            if not isinstance(text, str) or len(text) > 500 or "\x00" in text:
                raise ValueError(f"{name} must be one text of at most 500 characters, none NUL")
        if len(extra) > _MAX_LABELS:
            raise ValueError(f"at most {_MAX_LABELS} labels at a time")
        return self

    def wanted(self) -> JobFilter:
        """As the store takes it. Raises RequestRefused for a state or id that cannot be."""
        extra = self.model_extra or {}
        return JobFilter(
            states=tuple(_state(word) for word in _split(self.status)),
            models=(self.model,) if self.model else (),
            ids=tuple(_listed(word) for word in _split(self.ids)),
            metadata={name[len("metadata[") : -1]: text for name, text in extra.items()},
        )


@router.get(
    "",
    responses=documented(401, 422, 429),
    openapi_extra={"parameters": [_METADATA_PARAMETER]},
)
async def list_jobs(query: Annotated[ListQuery, Query()], context: ContextDep) -> JobList:
    """Your jobs, newest first, a page at a time."""
    wanted = query.wanted()
    after = None if query.after is None else _listed(query.after, "?after")
    async with context.runtime.list_slots.hold(context.key.id):
        found = await run_in_threadpool(
            context.runtime.db.read,
            lambda tx: jobs.page(
                tx,
                context.key.id,
                size=query.limit + 1,
                after=after,
                newest_first=query.order == "desc",
                wanted=wanted,
            ),
        )
        shown = [await view(context, job) for job in found[: query.limit]]
    return JobList(
        data=shown,
        first_id=shown[0].id if shown else None,
        last_id=shown[-1].id if shown else None,
        has_more=len(found) > query.limit,
    )


@router.get(
    "/{job_id}",
    response_model=AnyJob,
    responses={
        200: {"description": "The job.", **sent(*OF_JOB)},
        304: {"description": "Unchanged since `If-None-Match`.", **sent(*OF_JOB)},
        **documented(401, 404, 412, 422, 429),
    },
)
async def get_job(
    job_id: JobPath,
    request: Request,
    context: ContextDep,
    wait: Annotated[
        int,
        Query(
            ge=0,
            le=60,
            description="Answer when the job is final, or after these seconds; 55 s at the latest.",
        ),
    ] = 0,
) -> Response:
    """One job. Poll it with `If-None-Match`, or let the service do the waiting with `?wait=30`."""
    known = job_id_of(job_id)
    job = await context.runtime.find_job(known, context.key.id)
    if wait and not job.state.final:
        job = await wait_final(request, context.runtime, job, timedelta(seconds=wait)) or job
    return json_answer(await view(context, job), known=request.headers)


@router.post(
    "/{job_id}/cancel",
    response_model=AnyJob,
    responses={
        200: {"description": "The job, which is final.", **sent(*OF_JOB)},
        202: {
            "model": AnyJob,
            "description": "A worker has been asked to stop.",
            **sent(*OF_JOB),
        },
        **documented(401, 404, 429, 503),
    },
)
async def cancel_job(job_id: JobPath, context: ContextDep) -> Response:
    """Cancel. Doing it twice is the same as once; a final job is answered as it is."""
    known = job_id_of(job_id)
    runtime, key_id = context.runtime, context.key.id
    job = await runtime.write(lambda tx: cancel(tx, known, key_id, runtime.clock()))
    log.info("cancel asked for", job=job.id, state=job.state)
    if runtime.calls is not None and job.attempt:
        await run_in_threadpool(runtime.calls.stop, job, runtime.clock())
    return json_answer(await view(context, job), 200 if job.state.final else 202)


@router.post(
    "/{job_id}/retry",
    status_code=202,
    response_model=AnyJob,
    responses={
        200: {
            "model": AnyJob | InlineVideo,
            "description": "Final within the wait.",
            **sent(*OF_SUBMIT),
        },
        202: {"description": "Accepted, and on disk.", **sent(*OF_SUBMIT)},
        **documented(*SUBMIT, 404, "not_final"),
    },
    openapi_extra=body_of(VideoOptions),
)
async def retry_job(
    job_id: JobPath,
    request: Request,
    context: ContextDep,
    changes: ChangesDep,
    prefer: Prefer = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """A new job with the input and seed of a final one; what the body names is changed."""
    known = job_id_of(job_id)
    named = idempotency(request, idempotency_key, changes.ask)
    try:
        old = await context.runtime.find_job(known, context.key.id)
    except NotFound:
        # It may have been deleted since this very request was accepted.
        before = await earlier(context, named)
        if before is None:
            raise
        changes.area.clear()
        return await answered(context, request, before, changes.ask, prefer=prefer)
    if not old.state.final:
        raise Conflict(f"the job is {old.state}; only a final job can be retried", code="not_final")
    asked = ParsedBody(_asked_again(old, changes.ask), changes.area, changes.files)
    submit_request = SubmitRequest(asked, request, named, again=old)
    return await accept(context, submit_request, prefer=prefer)


@router.delete("/{job_id}", responses=documented(401, 404, "not_final", 412, 429))
async def delete_job(job_id: JobPath, request: Request, context: ContextDep) -> Deleted:
    """Delete a final job and its video; with `If-Match` only if it is still what that names."""
    known = job_id_of(job_id)
    if "if-match" in request.headers:
        job = await context.runtime.find_job(known, context.key.id)
        check_final(job)  # from here on it does not change
        json_answer(await view(context, job), known=request.headers)
    await run_in_threadpool(
        remove, context.runtime.db, context.runtime.artifacts, known, context.key.id
    )
    log.info("job deleted", job=known)
    return Deleted(id=known)


def _listed(text: str, pointer: str = "?ids") -> JobId:
    try:
        return job_id_of(text)
    except NotFound:
        raise RequestRefused(
            [FieldError(pointer, f"{text[:64]!r} is no job id", "invalid_id")]
        ) from None


def _state(word: str) -> JobState:
    if word not in list(JobState):
        detail = f"no state {word[:32]!r}; there is: {', '.join(JobState)}"
        raise RequestRefused([FieldError("?status", detail, "unknown_state")])
    return JobState(word)


def _split(texts: list[str] | None) -> list[str]:
    words = ",".join(texts or []).split(",")[:101]
    if len(words) > 100:
        raise RequestRefused([FieldError("?ids", "at most 100 at a time", "too_many")])
    return [word for word in words if word]


# What another model is given too; it brings its own sizes, steps and strength.
_KEPT = ("prompt", "seed", *NEEDS, "fit")


def _replaced(kept: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """A film in place of pictures takes their place, and the other way round."""
    gone = ("image", "last_image", "keyframes") if "video" in given else ("video", "strength")
    return {name: value for name, value in kept.items() if name not in gone}


def _kept_media(old: Job) -> dict[str, Any]:
    texts = kept_texts(old)
    found: dict[str, Any] = {role: text for role, text in texts.items() if "/" not in role}
    if old.request.keyframes:
        found["keyframes"] = [
            {"frame": one.frame, "image": texts[keyframe_role(number)]}
            for number, one in enumerate(old.request.keyframes)
        ]
    return found


def _asked_again(old: Job, changes: VideoOptions) -> VideoParams:
    """The old request as an ask, with `changes` on top; a new model brings its own defaults."""
    given = changes.model_dump(exclude_none=True)
    kept = old.request.model_dump(exclude_none=True) | _kept_media(old)
    if "models" in given or given.get("model", kept["model"]) != kept["model"]:
        kept = {name: kept[name] for name in _KEPT if name in kept}
    if given.keys() & NEEDS.keys():
        kept = _replaced(kept, given)
    if "duration_seconds" in given:
        kept.pop("num_frames", None)
    return VideoParams(
        **{
            "metadata": old.metadata,
            "priority": old.priority,
            "timeout_seconds": old.timeout_seconds,
            "webhook_url": old.webhook_url,
            "webhook_events": old.webhook_events,
            **kept,
            **given,
        }
    )
