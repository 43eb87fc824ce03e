"""Webhook endpoints and deliveries of all keys: which fail, replay, test."""

from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from service.admin.visit import ActorDep, Visit, VisitDep, page_router
from service.domain.event import DeliveryFilter, DeliveryState, delivery_id_of, endpoint_id_of
from service.store import deliveries
from service.webhooks import endpoints as use

router = page_router("/webhooks")

_PAGE, _ENDPOINTS = 50, 200


class DeliveryQuery(BaseModel):
    """The filters of the list of deliveries, its page, and what was done on it."""

    state: DeliveryState | None = None
    endpoint: Annotated[str, Field(max_length=40)] = ""
    after: Annotated[str, Field(max_length=40)] = ""
    notice: Literal["replayed", "tested", "enabled"] | None = None

    def url(self, **changes: Any) -> str:
        """Return the query string of these, with some of them changed."""
        values = self.model_dump(mode="json", exclude={"notice"}) | changes
        return "?" + urlencode({name: value for name, value in values.items() if value})


DeliveryQueryDep = Annotated[DeliveryQuery, Query()]


@router.get("")
async def show_webhooks(visit: VisitDep, query: DeliveryQueryDep) -> Response:
    filters = DeliveryFilter(
        state=query.state, endpoint_id=endpoint_id_of(query.endpoint) if query.endpoint else None
    )
    start = delivery_id_of(query.after) if query.after else None
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
        query=query,
        states=list(DeliveryState),
        key_names=await visit.key_names(),
    )


@router.post("/deliveries/{delivery_id}/replay")
async def replay(delivery_id: str, visit: ActorDep, query: DeliveryQueryDep) -> Response:
    id_, actor = delivery_id_of(delivery_id), visit.actor
    await visit.runtime.write(lambda tx: use.replay(tx, id_, None, actor.at, actor))
    return _back(visit, query, "replayed")


@router.post("/endpoints/{endpoint_id}/test")
async def send_test(endpoint_id: str, visit: ActorDep, query: DeliveryQueryDep) -> Response:
    id_, actor = endpoint_id_of(endpoint_id), visit.actor
    await visit.runtime.write(lambda tx: use.send_test(tx, id_, None, actor.at, actor))
    return _back(visit, query, "tested")


@router.post("/endpoints/{endpoint_id}/enable")
async def enable(endpoint_id: str, visit: ActorDep, query: DeliveryQueryDep) -> Response:
    id_, actor = endpoint_id_of(endpoint_id), visit.actor
    await visit.runtime.write(lambda tx: use.enable(tx, id_, None, actor))
    return _back(visit, query, "enabled")


def _back(visit: Visit, query: DeliveryQuery, notice: str) -> Response:
    return visit.redirect(f"/webhooks{query.url(notice=notice)}")
