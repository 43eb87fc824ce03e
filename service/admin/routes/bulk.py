"""Bulk actions: confirm one, watch it, stop it, and read what it did to which jobs."""

from dataclasses import dataclass
from typing import Annotated, get_args
from urllib.parse import parse_qs

from fastapi import Query
from starlette.responses import Response

from service.admin.job_query import JobQueryDep, parse_query
from service.admin.visit import ActorDep, AdminVisitDep, Visit, VisitDep, page_router
from service.domain.bulk import (
    MAX_JOBS,
    BulkAct,
    BulkAction,
    BulkId,
    BulkState,
    bulk_id_of,
    new_bulk_id,
)
from service.domain.errors import FieldError, NotFound, RequestRefused
from service.domain.ids import job_id_of
from service.lifecycle import bulk as use
from service.lifecycle.bulk import Order
from service.store import bulk, keys
from service.store.transaction import Transaction

router = page_router("/bulk")

_ACTIONS, _PAGE = 50, 200


@dataclass(frozen=True)
class BulkView:
    """A bulk action and its progress."""

    action: BulkAction
    by: str  # the name of the key
    changed: int
    refused: int
    left: int

    @property
    def is_running(self) -> bool:
        return self.action.state is BulkState.RUNNING

    @property
    def name(self) -> str:
        jobs = "job" if self.action.total == 1 else "jobs"
        return f"{self.action.act.capitalize()} {self.action.total:,} {jobs}"


@router.get("")
async def list_bulk_actions(
    visit: VisitDep, after: Annotated[str, Query(max_length=40)] = ""
) -> Response:
    start_at = bulk_id_of(after) if after else None
    views = await visit.read(
        lambda tx: _views(tx, bulk.page(tx, size=_ACTIONS + 1, after=start_at))
    )
    return await visit.page(
        "bulk_list.html",
        views=views[:_ACTIONS],
        next=views[_ACTIONS - 1].action.id if len(views) > _ACTIONS else None,
    )


@router.get("/new")
async def confirm(visit: AdminVisitDep, query: JobQueryDep, act: BulkAct) -> Response:
    """Name the number of jobs and the dollars before anything is done."""
    scope, filters = query.scope, query.to_filter()
    survey = await visit.read(lambda tx: bulk.survey(tx, act, scope, filters))
    chips = query.chips(await visit.key_names())
    # A form that is sent twice has one id, and starts one action.
    context = {"id": new_bulk_id(), "act": act, "query": query, "survey": survey, "chips": chips}
    return await visit.page("bulk_new.html", **context, max_jobs=MAX_JOBS)


@router.post("")
async def start(visit: ActorDep) -> Response:
    form = await visit.request.form()
    text = str(form.get("query", ""))
    query = parse_query(parse_qs(text.removeprefix("?")))
    act = _act(str(form.get("act")))
    number = _number(str(form.get("jobs")))
    id_ = _id(str(form.get("id", "")))
    order = Order(act, query.scope, query.to_filter(), query.url(), number, id_)
    runtime, actor = visit.runtime, visit.key.id
    action = await runtime.run(use.start, runtime.db, order, actor, runtime.clock())
    return visit.redirect(f"/bulk/{action.id}")


@router.get("/{bulk_id}")
async def show(
    bulk_id: str, visit: VisitDep, after: Annotated[str, Query(max_length=40)] = ""
) -> Response:
    id_, start_at = bulk_id_of(bulk_id), job_id_of(after) if after else None
    view = await _find(visit, id_)
    rows = await visit.read(lambda tx: bulk.items(tx, id_, size=_PAGE + 1, after=start_at))
    return await visit.page(
        "bulk.html",
        view=view,
        items=rows[:_PAGE],
        next=rows[_PAGE - 1].job_id if len(rows) > _PAGE else None,
    )


@router.get("/{bulk_id}/live")
async def show_live(bulk_id: str, visit: VisitDep) -> Response:
    """The part that changes while the action runs."""
    view = await _find(visit, bulk_id_of(bulk_id))
    response = visit.part("bulk_live.html", view=view)
    if not view.is_running:
        response.headers["HX-Refresh"] = "true"  # for what was done to each job
    return response


@router.post("/{bulk_id}/stop")
async def stop(bulk_id: str, visit: ActorDep) -> Response:
    id_, runtime, actor = bulk_id_of(bulk_id), visit.runtime, visit.key.id
    await runtime.write(lambda tx: use.stop(tx, id_, actor, runtime.clock()))
    return visit.redirect(f"/bulk/{id_}")


async def _find(visit: Visit, bulk_id: BulkId) -> BulkView:
    action = await visit.read(lambda tx: bulk.get(tx, bulk_id))
    if action is None:
        raise NotFound(f"no bulk action {bulk_id}")
    (view,) = await visit.read(lambda tx: _views(tx, [action]))
    return view


def _views(tx: Transaction, actions: list[BulkAction]) -> list[BulkView]:
    names, counts = keys.names(tx), bulk.counts(tx, [action.id for action in actions])
    return [
        BulkView(
            action,
            names[action.key_id],
            changed=counts[action.id].get(True, 0),
            refused=counts[action.id].get(False, 0),
            left=counts[action.id].get(None, 0),
        )
        for action in actions
    ]


def _id(text: str) -> BulkId:
    try:
        return bulk_id_of(text)
    except NotFound:
        detail = "must be the id that its form was shown with; confirm it from the list of jobs"
        raise RequestRefused([FieldError("/id", detail, "invalid_id")]) from None


def _act(text: str) -> BulkAct:
    for act in get_args(BulkAct):
        if text == act:
            valid_act: BulkAct = act
            return valid_act
    raise RequestRefused([FieldError("/act", "must be cancel, retry or delete", "unknown_act")])


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
