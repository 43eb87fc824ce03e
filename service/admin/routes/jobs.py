"""The list of jobs, and one job: its video, its progress, and what can be done with it."""

import logging
from typing import Annotated, Any

from fastapi import Query
from starlette.responses import Response

from service.admin import code_samples
from service.admin.job_query import OPEN, REFUSALS, JobQuery, filter_fields, parse_query, valid_part
from service.admin.job_view import JobView, read_job
from service.admin.visit import ALL_JOBS, ActorDep, Visit, VisitDep, page_router
from service.api.event_stream import ChangeStream
from service.domain.ids import job_id_of
from service.domain.job import JobState
from service.lifecycle.jobs import cancel, remove
from service.store import job_lists

log = logging.getLogger(__name__)
router = page_router("/jobs")

_PAGE = 50


@router.get("")
async def list_jobs(visit: VisitDep, after: Annotated[str, Query(max_length=40)] = "") -> Response:
    fields = filter_fields(visit.request)
    try:
        query = parse_query(fields)
        filters = query.to_filter()
    except REFUSALS as error:
        refusals = visit.refusals(error)
        texts = {name: fields.get(name, [""])[-1].replace("\0", "") for name in refusals}
        valid = valid_part(fields, refusals)
        return await _list(visit, valid, refusals=refusals, texts=texts, status=422)
    start = job_id_of(after) if after else None
    page = await visit.read(
        lambda tx: job_lists.page(tx, query.scope, size=_PAGE, after=start, filters=filters)
    )
    return await _list(visit, query, jobs=page.jobs, next=page.next_after, after=after)


async def _list(visit: Visit, query: JobQuery, **values: Any) -> Response:
    """Show the filters, with the jobs or with what is wrong with a filter."""
    key_names = await visit.key_names()
    context = {"jobs": (), "next": None, "after": "", "refusals": {}, "texts": {}, **values}
    return await visit.page(
        "jobs.html",
        query=query,
        chips=query.chips(key_names),
        states=list(JobState),
        models=list(visit.runtime.cards),
        key_names=key_names,
        open_states=OPEN,
        **context,
    )


@router.get("/{job_id}")
async def show_job(job_id: str, visit: VisitDep) -> Response:
    view = await _view(visit, job_id)
    return await visit.page(
        "job.html", view=view, samples=code_samples.of_job(view.job, visit.api_url)
    )


@router.get("/{job_id}/live")
async def show_live(job_id: str, visit: VisitDep) -> Response:
    """The part of a job's page that changes while it runs."""
    return visit.part("job_live.html", view=await _view(visit, job_id))


@router.get("/{job_id}/events")
async def stream_changes(job_id: str, visit: VisitDep) -> Response:
    """Events without data, whenever the job has changed; none for a final one."""
    job = await visit.runtime.find_job(job_id_of(job_id), ALL_JOBS)
    if job.state.final:
        return Response(status_code=204)
    return ChangeStream(visit.runtime, job.key_id, job.id, None, viewer=visit.key.id)


@router.post("/{job_id}/cancel")
async def cancel_job(job_id: str, visit: ActorDep) -> Response:
    runtime, id_ = visit.runtime, job_id_of(job_id)
    now, actor = runtime.clock(), visit.actor
    await runtime.run(cancel, runtime.db, runtime.workers, id_, ALL_JOBS, now, actor)
    log.info("job canceled in the admin pages", extra={"job": id_, "key": visit.key.id})
    return visit.redirect(f"/jobs/{id_}")


@router.post("/{job_id}/delete")
async def delete_job(job_id: str, visit: ActorDep) -> Response:
    runtime, id_ = visit.runtime, job_id_of(job_id)
    await runtime.run(remove, runtime.db, runtime.artifacts, id_, ALL_JOBS, visit.actor)
    log.info("job deleted in the admin pages", extra={"job": id_, "key": visit.key.id})
    return visit.redirect("/jobs")


async def _view(visit: VisitDep, job_id: str) -> JobView:
    id_ = job_id_of(job_id)
    view = await visit.read(lambda tx: read_job(tx, visit.runtime, id_))
    if view.job.state is JobState.QUEUED:
        return view.with_forecast(await visit.runtime.forecast_job(view.job))
    return view
