"""List, get, wait for, cancel, retry and delete jobs."""

import logging
import re
from datetime import timedelta
from typing import Annotated, Literal, Self

from fastapi import APIRouter, Query, Request, Response
from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError
from starlette.concurrency import run_in_threadpool

from service.api.body.parse import RetryDep, body_of
from service.api.deps import ContextDep, JobPath
from service.api.responses import job_out, json_response, wait_final
from service.api.schemas.jobs import AnyJob, DeletedObject, InlineVideo, JobList
from service.api.schemas.responses import OF_JOB, OF_SUBMIT, header_docs, problem_docs
from service.api.submit import SUBMIT, IdempotencyKey, Prefer, submit
from service.domain.avatar import AvatarOptions
from service.domain.errors import FieldError, NotFound, RequestRefused
from service.domain.ids import JobId, job_id_of
from service.domain.job import JobFilter, JobState
from service.domain.request import JobKind, VideoOptions
from service.domain.text import METADATA_LABEL, METADATA_LABEL_WORDS, Label
from service.lifecycle.jobs import cancel, check_final, remove
from service.store import job_lists

log = logging.getLogger(__name__)
router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_METADATA_PARAM = re.compile(rf"metadata\[({METADATA_LABEL})\]")
_MAX_LABELS = 16


# Validated below, with a message that lists all states.
_State = Annotated[str, WithJsonSchema({"type": "string", "enum": list(JobState)})]
# FastAPI cannot describe a `deepObject` parameter.
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
    """Filters and page of a list of jobs; up to 16 `metadata[name]=text` may be added."""

    model_config = ConfigDict(extra="allow")

    limit: int = Field(default=20, ge=1, le=100)
    after: str | None = Field(default=None, description="The `last_id` of the page before.")
    order: Literal["asc", "desc"] = "desc"
    status: list[_State] | None = Field(
        default=None, description="Several as `queued,running`, or repeated."
    )
    kind: JobKind | None = None
    model: Label | None = None
    ids: list[str] | None = Field(
        default=None,
        max_length=100,
        description="Up to 100 job ids, comma-separated or repeated.",
    )
    error: Label | None = Field(default=None, description="The code of the job's error.")
    created_after: AwareDatetime | None = Field(default=None, description="At or after.")
    created_before: AwareDatetime | None = None
    ended_after: AwareDatetime | None = Field(
        default=None, description="At or after. With a bound on the end, jobs are in its order."
    )
    ended_before: AwareDatetime | None = None
    prompt: str | None = Field(
        default=None,
        max_length=200,
        description="Words that the prompt or the spoken text contains, in any order. A page "
        f"searches {job_lists.MAX_SEARCHED:,} jobs at most: it may be short, or empty, while "
        "`has_more` is true.",
    )

    @model_validator(mode="after")
    def _only_metadata_besides(self) -> Self:
        wrong = {}
        for number, (name, text) in enumerate((self.model_extra or {}).items()):
            if not _METADATA_PARAM.fullmatch(name):
                wrong[name] = f"the label must have {METADATA_LABEL_WORDS}"
            elif not isinstance(text, str) or len(text) > 500 or "\x00" in text:
                wrong[name] = "must be one string of at most 500 characters, without NUL"
            elif number >= _MAX_LABELS:
                wrong[name] = f"at most {_MAX_LABELS} labels are possible"
        if wrong:
            lines: list[InitErrorDetails] = [
                {
                    "type": PydanticCustomError("value_error", "{text}", {"text": text}),
                    "loc": (name,),
                    "input": None,
                }
                for name, text in wrong.items()
            ]
            raise ValidationError.from_exception_data("ListQuery", lines)
        return self

    def to_filter(self) -> JobFilter:
        """Return the store's filter. Raises RequestRefused for an unknown state or malformed id."""
        extra = self.model_extra or {}
        return JobFilter(
            states=tuple(dict.fromkeys(map(_parse_state, _split(self.status)))),
            models=(self.model,) if self.model else (),
            kinds=(self.kind,) if self.kind else (),
            ids=tuple(_parse_job_id(word) for word in _split(self.ids)) or None,
            metadata={name[len("metadata[") : -1]: text for name, text in extra.items()},
            error_code=self.error,
            created_after=self.created_after,
            created_before=self.created_before,
            ended_after=self.ended_after,
            ended_before=self.ended_before,
            words=tuple((self.prompt or "").split()),
        )


@router.get(
    "",
    responses=problem_docs(401, 422, 429),
    openapi_extra={"parameters": [_METADATA_PARAMETER]},
)
async def list_jobs(query: Annotated[ListQuery, Query()], context: ContextDep) -> JobList:
    """A page of your jobs, newest first."""
    job_filter = query.to_filter()
    after = None if query.after is None else _parse_job_id(query.after, "?after")
    async with context.runtime.throttles.lists.hold(context.key.id):
        found = await run_in_threadpool(
            context.runtime.db.read,
            lambda tx: job_lists.page(
                tx,
                context.scope,
                size=query.limit,
                after=after,
                newest_first=query.order == "desc",
                filters=job_filter,
            ),
        )
        page = [await job_out(context, job) for job in found.jobs]
    return JobList(
        data=page,
        first_id=page[0].id if page else None,
        last_id=found.next_after or (page[-1].id if page else None),
        has_more=found.next_after is not None,
    )


@router.get(
    "/{job_id}",
    response_model=AnyJob,
    responses={
        200: {"description": "The job.", **header_docs(*OF_JOB)},
        304: {"description": "Unchanged since `If-None-Match`.", **header_docs(*OF_JOB)},
        **problem_docs(401, 404, 412, 422, 429),
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
            description="Respond when the job is final, or after this many seconds; at most 55.",
        ),
    ] = 0,
) -> Response:
    """One job. Poll with `If-None-Match`, or long-poll with `?wait=30`."""
    id_ = job_id_of(job_id)
    job = await context.runtime.find_job(id_, context.scope)
    if wait and not job.state.final:
        job = await wait_final(request, context.runtime, job, timedelta(seconds=wait)) or job
    return json_response(await job_out(context, job), conditions=request.headers)


@router.post(
    "/{job_id}/cancel",
    response_model=AnyJob,
    responses={
        200: {"description": "The job is final.", **header_docs(*OF_JOB)},
        202: {
            "model": AnyJob,
            "description": "A worker was told to stop.",
            **header_docs(*OF_JOB),
        },
        **problem_docs(401, "read_only_key", 404, 429, 503),
    },
)
async def cancel_job(job_id: JobPath, context: ContextDep) -> Response:
    """Cancel a job. Idempotent; a final job is returned unchanged."""
    runtime, id_ = context.runtime, job_id_of(job_id)
    now = runtime.clock()
    scope, actor = context.scope, context.actor
    job = await runtime.run(cancel, runtime.db, runtime.workers, id_, scope, now, actor)
    log.info("cancel requested", extra={"job": job.id, "state": job.state})
    return json_response(await job_out(context, job), 200 if job.state.final else 202)


@router.post(
    "/{job_id}/retry",
    status_code=202,
    response_model=AnyJob,
    responses={
        200: {
            "model": AnyJob | InlineVideo,
            "description": "The job became final within the wait.",
            **header_docs(*OF_SUBMIT),
        },
        202: {"description": "Accepted, and durable.", **header_docs(*OF_SUBMIT)},
        **problem_docs(*SUBMIT, 404, "not_final", "avatar_deleted"),
    },
    openapi_extra=body_of(VideoOptions, AvatarOptions),
)
async def retry_job(
    job_id: JobPath,
    request: Request,
    context: ContextDep,
    body: RetryDep,
    prefer: Prefer = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Submit a final job again with its input and seed; fields of the body override them. A deleted
    avatar says nothing new."""
    return await submit(
        context,
        body,
        request,
        prefer=prefer,
        idempotency_key=idempotency_key,
        retry_of=job_id_of(job_id),
    )


@router.delete(
    "/{job_id}", responses=problem_docs(401, "read_only_key", 404, "not_final", 412, 429)
)
async def delete_job(job_id: JobPath, request: Request, context: ContextDep) -> DeletedObject:
    """Delete a final job and its video; with `If-Match` only if it is unchanged."""
    id_ = job_id_of(job_id)
    if "if-match" in request.headers:
        job = await context.runtime.find_job(id_, context.scope)
        check_final(job)  # a final job does not change
        json_response(await job_out(context, job), conditions=request.headers)
    runtime, scope, actor = context.runtime, context.scope, context.actor
    await run_in_threadpool(remove, runtime.db, runtime.artifacts, id_, scope, actor)
    log.info("job deleted", extra={"job": id_})
    return DeletedObject(id=id_)


def _parse_job_id(text: str, pointer: str = "?ids") -> JobId:
    try:
        return job_id_of(text)
    except NotFound:
        raise RequestRefused(
            [FieldError(pointer, f"{text[:64]!r} is not a job id", "invalid_id")]
        ) from None


def _parse_state(word: str) -> JobState:
    if word not in list(JobState):
        detail = f"unknown state {word[:32]!r}; valid: {', '.join(JobState)}"
        raise RequestRefused([FieldError("?status", detail, "unknown_state")])
    return JobState(word)


def _split(texts: list[str] | None) -> list[str]:
    words = ",".join(texts or []).split(",")[:101]
    if len(words) > 100:
        raise RequestRefused([FieldError("?ids", "at most 100 values", "too_many")])
    return [word for word in words if word]
