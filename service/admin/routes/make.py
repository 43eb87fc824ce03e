"""The forms to make a video or an avatar, and to retry a job with edits, beside what they
change."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from fastapi import Query
from starlette.responses import Response

from service.admin import job_form
from service.admin.job_view import diff
from service.admin.routes.voices import own_avatars
from service.admin.visit import ALL_JOBS, AdminVisitDep, Visit, page_router
from service.domain.errors import Conflict
from service.domain.ids import job_id_of
from service.domain.job import Job
from service.domain.kinds import KINDS
from service.domain.models.card import ModelCard
from service.domain.request import JobKind, JobOptions
from service.runtime.voices import list_voices

router = page_router("")


@router.get("/new")
async def show_default_form(visit: AdminVisitDep) -> Response:
    return visit.redirect(f"/new/{visit.runtime.default_card.kind}")


@router.get("/new/{kind}")
async def show_form(
    kind: JobKind, visit: AdminVisitDep, model: Annotated[str, Query(max_length=64)] = ""
) -> Response:
    cards = _cards(visit, kind)
    voices: Sequence[Any] = ()
    avatars: Sequence[Any] = ()
    if kind == "avatar":
        voices, _ = await list_voices(visit.runtime, visit.key)
        avatars = await own_avatars(visit)
    return await visit.page(
        "make.html",
        kind=kind,
        cards=cards,
        card=cards.get(model) or next(iter(cards.values()), None),
        values={},
        voices=voices,
        avatars=avatars,
    )


@router.post("/new/{kind}")
async def make(kind: JobKind, visit: AdminVisitDep) -> Response:
    """Submit the form; the browser goes on to the page of the job."""
    return await _submit(visit, KINDS[kind].params)


@router.post("/new/{kind}/estimate")
async def show_estimate(kind: JobKind, visit: AdminVisitDep) -> Response:
    """Say what the job would cost, or why there is nothing to say yet."""
    return await _estimate(visit, KINDS[kind].params)


@router.get("/jobs/{job_id}/retry")
async def show_retry(job_id: str, visit: AdminVisitDep) -> Response:
    job = await _parent(visit, job_id)
    cards = _cards(visit, job.request.kind)
    values = job.request.model_dump(mode="json", exclude_none=True, exclude=set(job.request.media))
    return await visit.page(
        "retry.html",
        job=job,
        kind=job.request.kind,
        cards=cards,
        card=cards.get(job.request.model) or next(iter(cards.values()), None),
        values=values | {"priority": job.priority},
    )


@router.post("/jobs/{job_id}/retry")
async def retry(job_id: str, visit: AdminVisitDep) -> Response:
    """Submit the job again; the browser goes on to the page of the new one."""
    parent = await _parent(visit, job_id)
    return await _submit(visit, KINDS[parent.request.kind].options, parent)


@router.post("/jobs/{job_id}/retry/estimate")
async def show_retry_estimate(job_id: str, visit: AdminVisitDep) -> Response:
    """Say what the edits change, and what the new job would cost."""
    parent = await _parent(visit, job_id)
    return await _estimate(visit, KINDS[parent.request.kind].options, parent)


@job_form.explain_refusal()
async def _submit(visit: Visit, params: type[JobOptions], parent: Job | None = None) -> Response:
    async with job_form.form_of(visit, params) as form:
        job = await job_form.submit(visit, form, parent)
    return Response(headers={"HX-Redirect": f"{visit.base}/admin/jobs/{job.id}"})


@job_form.explain_refusal(quiet=True)
async def _estimate(visit: Visit, params: type[JobOptions], parent: Job | None = None) -> Response:
    async with job_form.form_of(visit, params) as form:
        estimate = await job_form.estimate(visit, form, parent)
    if parent is None:
        return visit.part("estimate.html", estimate=estimate)
    changes = diff(parent.request, estimate.submission.request)
    if form.params.seed is None:  # each estimate has another one
        changes = [replace(c, after="random") if c.name == "seed" else c for c in changes]
    return visit.part("retry_estimate.html", estimate=replace(estimate, changes=changes))


def _cards(visit: Visit, kind: JobKind) -> dict[str, ModelCard]:
    return {name: card for name, card in visit.runtime.cards.items() if card.kind == kind}


async def _parent(visit: Visit, job_id: str) -> Job:
    """Return the job to retry. Raises NotFound, or Conflict for one that is not final."""
    job = await visit.runtime.find_job(job_id_of(job_id), ALL_JOBS)
    if not job.state.final:
        raise Conflict(f"the job is {job.state}; only a final job can be retried", code="not_final")
    return job
