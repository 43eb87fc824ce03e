"""Webhook endpoints and deliveries of all keys: which fail, replay, test."""

from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from service.admin.visit import ActorDep, VisitDep, page_router
from service.domain.event import DeliveryFilter, DeliveryState, delivery_id_of, endpoint_id_of
from service.store import deliveries
from service.webhooks import endpoints as use

router = page_router("/webhooks")

_PAGE, _ENDPOINTS = 50, 200


@router.get("")
async def show_webhooks(
    visit: VisitDep,
    state: DeliveryState | None = None,
    after: Annotated[str, Query(max_length=40)] = "",
) -> Response:
    filters = DeliveryFilter(state=state)
    start = delivery_id_of(after) if after else None
    rows = await visit.read(
        lambda tx: deliveries.page(tx, None, size=_PAGE + 1, after=start, filters=filters)
    )
    registered = await visit.read(lambda tx: deliveries.every_endpoint(tx, size=_ENDPOINTS + 1))
    return await visit.page(
        "webhooks.html",
        endpoints=registered[:_ENDPOINTS],
        is_cut=len(registered) > _ENDPOINTS,
        deliveries=rows[:_PAGE],
        next=rows[_PAGE - 1].id if len(rows) > _PAGE else None,
        state=state,
        states=list(DeliveryState),
        key_names=await visit.key_names(),
    )


@router.post("/deliveries/{delivery_id}/replay")
async def replay(delivery_id: str, visit: ActorDep) -> Response:
    id_, actor = delivery_id_of(delivery_id), visit.actor
    await visit.runtime.write(lambda tx: use.replay(tx, id_, None, actor.at, actor))
    return visit.redirect("/webhooks")


@router.post("/endpoints/{endpoint_id}/test")
async def send_test(endpoint_id: str, visit: ActorDep) -> Response:
    id_, actor = endpoint_id_of(endpoint_id), visit.actor
    await visit.runtime.write(lambda tx: use.send_test(tx, id_, None, actor.at, actor))
    return visit.redirect("/webhooks")


@router.post("/endpoints/{endpoint_id}/enable")
async def enable(endpoint_id: str, visit: ActorDep) -> Response:
    id_, actor = endpoint_id_of(endpoint_id), visit.actor
    await visit.runtime.write(lambda tx: use.enable(tx, id_, None, actor))
    return visit.redirect("/webhooks")
