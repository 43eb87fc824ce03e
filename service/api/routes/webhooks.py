"""Webhooks: endpoints, secrets, the log of deliveries, test and replay."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from service.api.auth import ContextDep, RequestContext
from service.api.path_params import delivery_id_of, endpoint_id_of, job_id_of
from service.api.schemas.jobs import Deleted
from service.api.schemas.problems import documented
from service.api.schemas.webhooks import (
    NewWebhookEndpoint,
    WebhookDelivery,
    WebhookDeliveryList,
    WebhookEndpoint,
    WebhookEndpointList,
    WebhookSecret,
)
from service.api.urls import refuse_bad_target
from service.domain.event import DEFAULT_EVENTS, EventKind
from service.domain.webhook import DeliveryFilter, DeliveryState
from service.store import deliveries, endpoints, keys
from service.webhooks import endpoints as use
from service.webhooks.sign import shown

router = APIRouter(prefix="/v1", tags=["webhooks"])


class EndpointBody(BaseModel):
    """A new endpoint."""

    model_config = ConfigDict(extra="forbid", strict=True)

    url: Annotated[str, Field(min_length=1, max_length=2048, description="An https URL.")]
    events: Annotated[list[EventKind], Field(min_length=1, max_length=6)] = Field(
        default=list(DEFAULT_EVENTS), description="What it is told. Default: how jobs end."
    )


class DeliveryQuery(BaseModel):
    """Which deliveries to list."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=20, ge=1, le=100)
    after: str | None = Field(default=None, description="The `last_id` of the page before.")
    job_id: str | None = None
    endpoint_id: str | None = None
    status: DeliveryState | None = None

    def wanted(self) -> DeliveryFilter:
        return DeliveryFilter(
            job_id=None if self.job_id is None else job_id_of(self.job_id),
            endpoint_id=None if self.endpoint_id is None else endpoint_id_of(self.endpoint_id),
            state=self.status,
        )


@router.post(
    "/webhook-endpoints",
    status_code=201,
    responses=documented(400, 401, "too_many_endpoints", "known_endpoint", 413, 415, 422, 429, 503),
)
async def create_endpoint(ask: EndpointBody, context: ContextDep) -> NewWebhookEndpoint:
    """Register a URL for the events of all your jobs."""
    runtime, key_id = context.runtime, context.key.id
    refuse_bad_target(runtime, ask.url, "/url")
    events = tuple(dict.fromkeys(ask.events))
    made = await runtime.write(
        lambda tx: use.register(tx, key_id, ask.url, events, runtime.clock())
    )
    return NewWebhookEndpoint(
        endpoint=WebhookEndpoint.from_domain(made), secret=shown(made.secrets.present)
    )


@router.get("/webhook-endpoints", responses=documented(401, 429))
async def list_endpoints(context: ContextDep) -> WebhookEndpointList:
    """Your endpoints, without their secrets."""
    key_id = context.key.id
    found = await context.runtime.read(lambda tx: endpoints.of_key(tx, key_id))
    return WebhookEndpointList(data=[WebhookEndpoint.from_domain(one) for one in found])


@router.get("/webhook-endpoints/{endpoint_id}", responses=documented(401, 404, 429))
async def get_endpoint(endpoint_id: str, context: ContextDep) -> WebhookEndpoint:
    """One endpoint."""
    known, key_id = endpoint_id_of(endpoint_id), context.key.id
    found = await context.runtime.read(lambda tx: use.find(tx, known, key_id))
    return WebhookEndpoint.from_domain(found)


@router.delete("/webhook-endpoints/{endpoint_id}", responses=documented(401, 404, 429, 503))
async def delete_endpoint(endpoint_id: str, context: ContextDep) -> Deleted:
    """Remove an endpoint, and with it what is still owed to it."""
    known, key_id = endpoint_id_of(endpoint_id), context.key.id
    await context.runtime.write(lambda tx: use.remove(tx, known, key_id))
    return Deleted(id=known, object="webhook_endpoint")


@router.get("/webhook-endpoints/{endpoint_id}/secret", responses=documented(401, 404, 429))
async def get_endpoint_secret(endpoint_id: str, context: ContextDep) -> WebhookSecret:
    """What signs the deliveries to this endpoint."""
    known, key_id = endpoint_id_of(endpoint_id), context.key.id
    found = await context.runtime.read(lambda tx: use.find(tx, known, key_id))
    return WebhookSecret.from_domain(found.secrets, context.runtime.clock())


@router.post("/webhook-endpoints/{endpoint_id}/rotate", responses=documented(401, 404, 429, 503))
async def rotate_endpoint_secret(endpoint_id: str, context: ContextDep) -> WebhookSecret:
    """A new secret. For 24 hours every delivery carries a signature by the old one too."""
    known, runtime, key_id = endpoint_id_of(endpoint_id), context.runtime, context.key.id
    fresh = await runtime.write(lambda tx: use.rotate(tx, known, key_id, runtime.clock()))
    return WebhookSecret.from_domain(fresh, runtime.clock())


@router.post("/webhook-endpoints/{endpoint_id}/enable", responses=documented(401, 404, 429, 503))
async def enable_endpoint(endpoint_id: str, context: ContextDep) -> WebhookEndpoint:
    """Send to a disabled endpoint again, from the next event on."""
    known, key_id = endpoint_id_of(endpoint_id), context.key.id
    found = await context.runtime.write(lambda tx: use.enable(tx, known, key_id))
    return WebhookEndpoint.from_domain(found)


@router.post(
    "/webhook-endpoints/{endpoint_id}/test",
    status_code=202,
    responses=documented(401, 404, "endpoint_disabled", 429, 503),
)
async def send_test(endpoint_id: str, context: ContextDep) -> WebhookDelivery:
    """Send it a `webhook.test` event, signed like any other."""
    known, runtime, key_id = endpoint_id_of(endpoint_id), context.runtime, context.key.id
    made = await runtime.write(lambda tx: use.send_test(tx, known, key_id, runtime.clock()))
    return WebhookDelivery.from_domain(made)


@router.get("/webhook-secret", responses=documented(401, 429, 503))
async def get_webhook_secret(context: ContextDep) -> WebhookSecret:
    """What signs for the `webhook_url` of your jobs."""
    return await _own_secret(context, "keep")


@router.post("/webhook-secret/rotate", responses=documented(401, 429, 503))
async def rotate_webhook_secret(context: ContextDep) -> WebhookSecret:
    """A new one. For 24 hours every delivery carries a signature by the old one too."""
    return await _own_secret(context, "rotate")


async def _own_secret(context: RequestContext, act: Literal["keep", "rotate"]) -> WebhookSecret:
    runtime, key_id = context.runtime, context.key.id
    if act == "rotate":
        found = await runtime.write(lambda tx: use.rotate_own(tx, key_id, runtime.clock()))
    else:
        found = await runtime.write(lambda tx: keys.signing_secrets(tx, key_id))
    return WebhookSecret.from_domain(found, runtime.clock())


@router.get("/webhook-deliveries", responses=documented(401, 404, 422, 429))
async def list_deliveries(
    query: Annotated[DeliveryQuery, Query()], context: ContextDep
) -> WebhookDeliveryList:
    """What was and is owed to your URLs, newest first, and how each try went."""
    wanted = query.wanted()
    after = None if query.after is None else delivery_id_of(query.after)
    async with context.runtime.list_slots.hold(context.key.id):
        found = await run_in_threadpool(
            context.runtime.db.read,
            lambda tx: deliveries.page(
                tx, context.key.id, size=query.limit + 1, after=after, wanted=wanted
            ),
        )
    shown_here = [WebhookDelivery.from_domain(one) for one in found[: query.limit]]
    return WebhookDeliveryList(
        data=shown_here,
        first_id=shown_here[0].id if shown_here else None,
        last_id=shown_here[-1].id if shown_here else None,
        has_more=len(found) > query.limit,
    )


@router.get("/webhook-deliveries/{delivery_id}", responses=documented(401, 404, 429))
async def get_delivery(delivery_id: str, context: ContextDep) -> WebhookDelivery:
    """One delivery."""
    known, key_id = delivery_id_of(delivery_id), context.key.id
    found = await context.runtime.read(lambda tx: use.find_delivery(tx, known, key_id))
    return WebhookDelivery.from_domain(found)


@router.post(
    "/webhook-deliveries/{delivery_id}/replay",
    status_code=202,
    responses=documented(401, 404, "endpoint_disabled", 429, 503),
)
async def replay_delivery(delivery_id: str, context: ContextDep) -> WebhookDelivery:
    """Send it again, with the same id and body."""
    known, runtime, key_id = delivery_id_of(delivery_id), context.runtime, context.key.id
    made = await runtime.write(lambda tx: use.replay(tx, known, key_id, runtime.clock()))
    return WebhookDelivery.from_domain(made)
