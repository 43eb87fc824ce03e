"""Retry a job with edits, beside what they change."""

from dataclasses import replace

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from service.admin import offer
from service.admin.job_view import diff
from service.admin.visit import ALL_JOBS, AdminVisitDep, Visit, page_router
from service.domain.avatar import AvatarOptions
from service.domain.errors import Conflict, ServiceError
from service.domain.ids import job_id_of
from service.domain.job import Job
from service.domain.request import JobOptions, VideoOptions

router = page_router("/jobs")


@router.get("/{job_id}/retry")
async def show_retry(job_id: str, visit: AdminVisitDep) -> Response:
    job = await _parent(visit, job_id)
    cards = {n: card for n, card in visit.runtime.cards.items() if card.kind == job.request.kind}
    values = job.request.model_dump(mode="json", exclude_none=True, exclude=set(job.request.media))
    return await visit.page(
        "retry.html",
        job=job,
        kind=job.request.kind,
        cards=cards,
        card=cards.get(job.request.model) or next(iter(cards.values()), None),
        values=values | {"priority": job.priority},
    )


@router.post("/{job_id}/retry")
async def retry(job_id: str, visit: AdminVisitDep) -> Response:
    """Submit the job again; the browser goes on to the page of the new one."""
    parent = await _parent(visit, job_id)
    try:
        async with offer.form_of(visit, _options(parent)) as form:
            job = await offer.submit(visit, form, parent)
    except (ServiceError, RequestValidationError, HTTPException) as error:
        return offer.refusal(visit, error)
    return Response(headers={"HX-Redirect": f"{visit.base}/admin/jobs/{job.id}"})


@router.post("/{job_id}/retry/estimate")
async def show_estimate(job_id: str, visit: AdminVisitDep) -> Response:
    """Say what the edits change, and what the new job would cost."""
    parent = await _parent(visit, job_id)
    try:
        async with offer.form_of(visit, _options(parent)) as form:
            found = await offer.estimate(visit, form, parent)
    except (ServiceError, RequestValidationError, HTTPException) as error:
        return offer.refusal(visit, error, quiet=True)
    changes = diff(parent.request, found.submission.request)
    return visit.part("retry_estimate.html", offer=replace(found, changes=changes))


async def _parent(visit: Visit, job_id: str) -> Job:
    """Return the job to retry. Raises NotFound, or Conflict for one that is not final."""
    job = await visit.runtime.find_job(job_id_of(job_id), ALL_JOBS)
    if not job.state.final:
        raise Conflict(f"the job is {job.state}; only a final job can be retried", code="not_final")
    return job


def _options(parent: Job) -> type[JobOptions]:
    return AvatarOptions if parent.request.kind == "avatar" else VideoOptions
