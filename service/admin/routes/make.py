"""The form to make a video or an avatar."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import Query
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response

from service.admin import offer
from service.admin.visit import AdminVisitDep, Visit, page_router
from service.domain.avatar import AvatarParams
from service.domain.errors import ServiceError
from service.domain.models.card import ModelCard
from service.domain.request import JobOptions, VideoParams

router = page_router("/new")

Kind = Literal["video", "avatar"]
_PARAMS: dict[Kind, type[JobOptions]] = {"video": VideoParams, "avatar": AvatarParams}


@router.get("")
async def show_default_form(visit: AdminVisitDep) -> Response:
    return visit.redirect(f"/new/{visit.runtime.default_card.kind}")


@router.get("/{kind}")
async def show_form(
    kind: Kind, visit: AdminVisitDep, model: Annotated[str, Query(max_length=64)] = ""
) -> Response:
    cards = _cards(visit, kind)
    voices: Sequence[Any] = ()
    if kind == "avatar":
        listing = partial(visit.runtime.voices.listing, visit.key.id, is_admin=True)
        voices, _ = await run_in_threadpool(listing)
    return await visit.page(
        "make.html",
        kind=kind,
        cards=cards,
        card=cards.get(model) or next(iter(cards.values()), None),
        values={},
        voices=voices,
    )


@router.post("/{kind}")
async def make(kind: Kind, visit: AdminVisitDep) -> Response:
    """Submit the form; the browser goes on to the page of the job."""
    try:
        async with offer.form_of(visit, _PARAMS[kind]) as form:
            job = await offer.submit(visit, form)
    except (ServiceError, RequestValidationError, HTTPException) as error:
        return offer.refusal(visit, error)
    return Response(headers={"HX-Redirect": f"{visit.base}/admin/jobs/{job.id}"})


@router.post("/{kind}/estimate")
async def show_estimate(kind: Kind, visit: AdminVisitDep) -> Response:
    """Say what the job would cost, or why there is nothing to say yet."""
    try:
        async with offer.form_of(visit, _PARAMS[kind]) as form:
            estimate = await offer.estimate(visit, form)
    except (ServiceError, RequestValidationError, HTTPException) as error:
        return offer.refusal(visit, error, quiet=True)
    return visit.part("estimate.html", offer=estimate)


def _cards(visit: Visit, kind: Kind) -> dict[str, ModelCard]:
    return {name: card for name, card in visit.runtime.cards.items() if card.kind == kind}
