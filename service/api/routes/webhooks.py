"""Webhooks: endpoints, secrets, the log of deliveries, test and replay."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from service.api.deps import ContextDep, RequestContext
from service.api.schemas.jobs import DeletedObject
from service.api.schemas.responses import problem_docs
from service.api.schemas.webhooks import (
    NewWebhookEndpoint,
    WebhookDelivery,
    WebhookDeliveryList,
    WebhookEndpoint,
    WebhookEndpointList,
    WebhookSecret,
)
from service.domain.event import (
    DEFAULT_EVENTS,
    DeliveryFilter,
    DeliveryState,
    EventKinds,
    delivery_id_of,
    endpoint_id_of,
)
from service.domain.ids import job_id_of
from service.lifecycle.targets import refuse_bad_target
from service.store import deliveries, keys
from service.webhooks import endpoints as use
from service.webhooks.sign import encode_secret

router = APIRouter(prefix="/v1", tags=["webhooks"])


class EndpointBody(BaseModel):
    """A new endpoint."""

    model_config = ConfigDict(extra="forbid", strict=True)

    url: Annotated[str, Field(min_length=1, max_length=2048, description="An https URL.")]
    events: EventKinds = Field(
        default=list(DEFAULT_EVENTS), description="Events to send. Default: the final ones of jobs."
    )


class DeliveryQuery(BaseModel):
    """Filters and page of a list of deliveries."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=20, ge=1, le=100)
    after: str | None = Field(default=None, description="The `last_id` of the page before.")
    job_id: str | None = None
    endpoint_id: str | None = None
    status: DeliveryState | None = None

    def to_filter(self) -> DeliveryFilter:
        return DeliveryFilter(
            job_id=None if self.job_id is None else job_id_of(self.job_id),
            endpoint_id=None if self.endpoint_id is None else endpoint_id_of(self.endpoint_id),
            state=self.status,
        )


@router.post(
    "/webhook-endpoints",
    status_code=201,
    responses=problem_docs(
        400, 401, "read_only_key", "too_many_endpoints", "known_endpoint", 413, 415, 422, 429, 503
    ),
)
async def create_endpoint(body: EndpointBody, context: ContextDep) -> NewWebhookEndpoint:
    """Register a URL for the events of all your jobs."""
    runtime, key_id = context.runtime, context.key.id
    refuse_bad_target(runtime.egress_rules, body.url, "/url")
    events = tuple(dict.fromkeys(body.events))
    endpoint = await runtime.write(
        lambda tx: use.register(tx, key_id, body.url, events, runtime.clock(), context.actor)
    )
    return NewWebhookEndpoint(
        endpoint=WebhookEndpoint.from_domain(endpoint),
        secret=encode_secret(endpoint.secrets.present),
    )


@router.get("/webhook-endpoints", responses=problem_docs(401, 429))
async def list_endpoints(context: ContextDep) -> WebhookEndpointList:
    """Your endpoints, without their secrets."""
    key_id = context.key.id
    rows = await context.runtime.read(lambda tx: deliveries.endpoints_of(tx, key_id))
    return WebhookEndpointList(data=[WebhookEndpoint.from_domain(row) for row in rows])


@router.get("/webhook-endpoints/{endpoint_id}", responses=problem_docs(401, 404, 429))
async def get_endpoint(endpoint_id: str, context: ContextDep) -> WebhookEndpoint:
    """One endpoint."""
    id_, key_id = endpoint_id_of(endpoint_id), context.key.id
    endpoint = await context.runtime.read(lambda tx: use.find(tx, id_, key_id))
    return WebhookEndpoint.from_domain(endpoint)


@router.delete(
    "/webhook-endpoints/{endpoint_id}", responses=problem_docs(401, "read_only_key", 404, 429, 503)
)
async def delete_endpoint(endpoint_id: str, context: ContextDep) -> DeletedObject:
    """Delete an endpoint and its pending deliveries."""
    id_, key_id = endpoint_id_of(endpoint_id), context.key.id
    await context.runtime.write(lambda tx: use.remove(tx, id_, key_id, context.actor))
    return DeletedObject(id=id_, object="webhook_endpoint")


@router.get("/webhook-endpoints/{endpoint_id}/secret", responses=problem_docs(401, 404, 429))
async def get_endpoint_secret(endpoint_id: str, context: ContextDep) -> WebhookSecret:
    """The secret that signs deliveries to this endpoint."""
    id_, key_id = endpoint_id_of(endpoint_id), context.key.id
    endpoint = await context.runtime.read(lambda tx: use.find(tx, id_, key_id))
    return WebhookSecret.from_domain(endpoint.secrets, context.runtime.clock())


@router.post(
    "/webhook-endpoints/{endpoint_id}/rotate",
    responses=problem_docs(401, "read_only_key", 404, 429, 503),
)
async def rotate_endpoint_secret(endpoint_id: str, context: ContextDep) -> WebhookSecret:
    """Rotate the secret. For 24 hours deliveries are signed with the old one too."""
    id_, runtime, key_id = endpoint_id_of(endpoint_id), context.runtime, context.key.id
    new_secrets = await runtime.write(
        lambda tx: use.rotate(tx, id_, key_id, runtime.clock(), context.actor)
    )
    return WebhookSecret.from_domain(new_secrets, runtime.clock())


@router.post(
    "/webhook-endpoints/{endpoint_id}/enable",
    responses=problem_docs(401, "read_only_key", 404, 429, 503),
)
async def enable_endpoint(endpoint_id: str, context: ContextDep) -> WebhookEndpoint:
    """Enable a disabled endpoint again, from the next event on."""
    id_, key_id = endpoint_id_of(endpoint_id), context.key.id
    endpoint = await context.runtime.write(lambda tx: use.enable(tx, id_, key_id, context.actor))
    return WebhookEndpoint.from_domain(endpoint)


@router.post(
    "/webhook-endpoints/{endpoint_id}/test",
    status_code=202,
    responses=problem_docs(401, "read_only_key", 404, "endpoint_disabled", 429, 503),
)
async def send_test(endpoint_id: str, context: ContextDep) -> WebhookDelivery:
    """Send a `webhook.test` event to the endpoint, signed like any other."""
    id_, runtime, key_id = endpoint_id_of(endpoint_id), context.runtime, context.key.id
    delivery = await runtime.write(
        lambda tx: use.send_test(tx, id_, key_id, runtime.clock(), context.actor)
    )
    return WebhookDelivery.from_domain(delivery)


@router.get("/webhook-secret", responses=problem_docs(401, 429, 503))
async def get_webhook_secret(context: ContextDep) -> WebhookSecret:
    """The secret that signs deliveries to the `webhook_url` of your jobs."""
    return await _own_secret(context, "keep")


@router.post("/webhook-secret/rotate", responses=problem_docs(401, "read_only_key", 429, 503))
async def rotate_webhook_secret(context: ContextDep) -> WebhookSecret:
    """Rotate that secret. For 24 hours deliveries are signed with the old one too."""
    return await _own_secret(context, "rotate")


async def _own_secret(context: RequestContext, act: Literal["keep", "rotate"]) -> WebhookSecret:
    runtime, key_id = context.runtime, context.key.id
    if act == "rotate":
        secrets = await runtime.write(
            lambda tx: use.rotate_key_secrets(tx, key_id, runtime.clock(), context.actor)
        )
    else:
        secrets = await runtime.write(lambda tx: keys.signing_secrets(tx, key_id))
    return WebhookSecret.from_domain(secrets, runtime.clock())


@router.get("/webhook-deliveries", responses=problem_docs(401, 404, 422, 429))
async def list_deliveries(
    query: Annotated[DeliveryQuery, Query()], context: ContextDep
) -> WebhookDeliveryList:
    """A page of deliveries to your URLs with their attempts, newest first."""
    delivery_filter = query.to_filter()
    after = None if query.after is None else delivery_id_of(query.after)
    async with context.runtime.throttles.lists.hold(context.key.id):
        rows = await run_in_threadpool(
            context.runtime.db.read,
            lambda tx: deliveries.page(
                tx, context.key.id, size=query.limit + 1, after=after, filters=delivery_filter
            ),
        )
    page = [WebhookDelivery.from_domain(row) for row in rows[: query.limit]]
    return WebhookDeliveryList(
        data=page,
        first_id=page[0].id if page else None,
        last_id=page[-1].id if page else None,
        has_more=len(rows) > query.limit,
    )


@router.get("/webhook-deliveries/{delivery_id}", responses=problem_docs(401, 404, 429))
async def get_delivery(delivery_id: str, context: ContextDep) -> WebhookDelivery:
    """One delivery."""
    id_, key_id = delivery_id_of(delivery_id), context.key.id
    delivery = await context.runtime.read(lambda tx: use.find_delivery(tx, id_, key_id))
    return WebhookDelivery.from_domain(delivery)


@router.post(
    "/webhook-deliveries/{delivery_id}/replay",
    status_code=202,
    responses=problem_docs(401, "read_only_key", 404, "endpoint_disabled", 429, 503),
)
async def replay_delivery(delivery_id: str, context: ContextDep) -> WebhookDelivery:
    """Send a delivery again, with the same id and body."""
    id_, runtime, key_id = delivery_id_of(delivery_id), context.runtime, context.key.id
    delivery = await runtime.write(
        lambda tx: use.replay(tx, id_, key_id, runtime.clock(), context.actor)
    )
    return WebhookDelivery.from_domain(delivery)
