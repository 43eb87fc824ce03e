"""A form for a job: read what it sends, estimate it, and submit it."""

import hashlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from service.admin.job_view import Change
from service.admin.visit import CSRF_FIELD, FORM_ID_FIELD, Visit, find_visit
from service.api.body.parse import read_form_body
from service.api.problems import problem_of
from service.domain.errors import ServiceError
from service.domain.job import Idempotency, Job, Submission
from service.domain.media import MEDIA_RULES, Role
from service.domain.request import JobOptions
from service.lifecycle.inputs import Input
from service.runtime.submit import SubmitRequest, create_job, prepare, warnings

Handler = Callable[..., Coroutine[Any, Any, Response]]


@dataclass(frozen=True)
class JobForm:
    """The contents of a form for a job. Sent twice with the same ones, it makes one job."""

    params: JobOptions
    files: dict[Role, Input] = field(default_factory=dict)
    id: str | None = None
    empty: frozenset[str] = frozenset()

    @property
    def idempotency(self) -> Idempotency | None:
        if self.id is None:
            return None
        fields = self.params.model_dump_json(exclude_none=True)
        text = f"{self.id}\n{','.join(sorted(self.empty))}\n{fields}"
        digest = hashlib.sha256(text.encode())
        return Idempotency(f"rushes-form:{digest.hexdigest()}", digest.digest())


@dataclass(frozen=True)
class JobEstimate:
    """A job that is not submitted yet: its request, its time, its price, and warnings."""

    submission: Submission
    expected_seconds: float
    warnings: list[str]
    changes: list[Change]


@asynccontextmanager
async def form_of(visit: Visit, model: type[JobOptions]) -> AsyncIterator[JobForm]:
    """Read a form with its files, and check that this session sent it, and has not ended since."""
    runtime, fields = visit.runtime, (CSRF_FIELD, FORM_ID_FIELD)
    with runtime.uploads.area(visit.key.id) as area:
        reading = read_form_body(visit.request, runtime, area, (model,), own_fields=fields)
        body, own = await runtime.uploads.with_timeout(reading)
        visit.check_csrf(str(own.get(CSRF_FIELD, "")))
        await find_visit(visit.request)  # the files may have taken minutes
        yield JobForm(body.params, body.files, own.get(FORM_ID_FIELD), body.empty)


def submit_request(visit: Visit, form: JobForm, parent: Job | None = None) -> SubmitRequest:
    """Return the request for a job of this key; a retry belongs to the key of its parent."""
    return SubmitRequest(
        key_id=visit.key.id if parent is None else parent.key_id,
        params=form.params if parent is None else _only_changes(form.params, parent),
        api_url=visit.api_url,
        files=form.files,
        idempotency=form.idempotency,
        actor=visit.key.id,
        retry_of=None if parent is None else parent.id,
        without=frozenset() if parent is None else emptied(form, parent),
    )


def emptied(form: JobForm, parent: Job) -> frozenset[str]:
    """Return the fields of the parent that its retry leaves to the defaults. A file that is not
    chosen stays as it was."""
    return frozenset(
        name
        for name in form.empty - MEDIA_RULES.keys()
        if getattr(parent.request, name, None) not in (None, "")
    )


def _only_changes(params: JobOptions, parent: Job) -> JobOptions:
    """Leave out what is as in the parent, so that another model uses its own defaults."""
    same = {
        name: None
        for name, value in params
        if value is not None and getattr(parent.request, name, None) == value
    }
    return params.model_copy(update=same)


async def submit(visit: Visit, form: JobForm, parent: Job | None = None) -> Job:
    """Submit the job, and record who did."""
    return (await create_job(visit.runtime, submit_request(visit, form, parent))).job


async def estimate(visit: Visit, form: JobForm, parent: Job | None = None) -> JobEstimate:
    """Resolve a form without submitting it. Raises what would refuse it."""
    submission, _ = await prepare(visit.runtime, submit_request(visit, form, parent))
    card = visit.runtime.cards[submission.request.model]
    return JobEstimate(
        submission,
        card.expected_seconds(submission.request),
        await warnings(visit.runtime, form.params, submission),
        [],
    )


def explain_refusal(*, quiet: bool = False) -> Callable[[Handler], Handler]:
    """Decorate what answers to a form for a job: a refusal is the part of a page that says
    what is wrong, or is still to be filled in: `quiet`."""

    def decorate(handle: Handler) -> Handler:
        @wraps(handle)
        async def handle_or_explain(visit: Visit, *values: Any) -> Response:
            try:
                return await handle(visit, *values)
            except (ServiceError, RequestValidationError, HTTPException) as error:
                problem, _ = problem_of(visit.request, error)
                return visit.part("refusal.html", problem=problem, quiet=quiet)

        return handle_or_explain

    return decorate
