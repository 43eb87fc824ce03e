"""Response models of webhook endpoints, their secrets and deliveries."""

from datetime import datetime
from typing import Literal, Self

from pydantic import BaseModel, Field

from service.domain.event import Delivery, DeliveryState, Endpoint, Secrets, Try
from service.webhooks.sign import encode_secret


class WebhookEndpoint(BaseModel):
    """A URL that receives events. `disabled_at` is set after repeated failures."""

    id: str
    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    url: str
    events: list[str]
    created_at: datetime
    failing_since: datetime | None = Field(
        description="Since when every delivery attempt has failed."
    )
    disabled_at: datetime | None
    disabled_reason: str | None

    @classmethod
    def from_domain(cls, endpoint: Endpoint) -> Self:
        return cls(
            id=endpoint.id,
            url=endpoint.url,
            events=list(endpoint.events),
            created_at=endpoint.created_at,
            failing_since=endpoint.failing_since,
            disabled_at=endpoint.disabled_at,
            disabled_reason=endpoint.disabled_reason,
        )


class NewWebhookEndpoint(BaseModel):
    """A new endpoint and the secret that signs its deliveries."""

    endpoint: WebhookEndpoint
    secret: str


class WebhookEndpointList(BaseModel):
    object: Literal["list"] = "list"
    data: list[WebhookEndpoint]


class WebhookSecret(BaseModel):
    """A signing secret. After a rotation `old_secret` signs too, until `old_secret_until`."""

    secret: str
    old_secret: str | None
    old_secret_until: datetime | None

    @classmethod
    def from_domain(cls, secrets: Secrets, now: datetime) -> Self:
        old = secrets.old if len(secrets.signing(now)) > 1 else None
        return cls(
            secret=encode_secret(secrets.present),
            old_secret=None if old is None else encode_secret(old),
            old_secret_until=None if old is None else secrets.old_until,
        )


class WebhookDelivery(BaseModel):
    """One event for one URL. `id` is the `webhook-id` header of every attempt."""

    id: str
    object: Literal["webhook_delivery"] = "webhook_delivery"
    event: str
    url: str
    endpoint_id: str | None
    job_id: str | None
    status: DeliveryState
    attempts: int
    next_attempt_at: datetime | None
    delivered_at: datetime | None
    created_at: datetime
    tries: list[Try]

    @classmethod
    def from_domain(cls, delivery: Delivery) -> Self:
        return cls(
            id=delivery.id,
            event=delivery.event,
            url=delivery.url,
            endpoint_id=delivery.endpoint_id,
            job_id=delivery.job_id,
            status=delivery.state,
            attempts=len(delivery.tries),
            next_attempt_at=delivery.next_at,
            delivered_at=delivery.delivered_at,
            created_at=delivery.created_at,
            tries=list(delivery.tries),
        )


class WebhookDeliveryList(BaseModel):
    """A page of deliveries; continue with `?after=<last_id>` while `has_more`."""

    object: Literal["list"] = "list"
    data: list[WebhookDelivery]
    first_id: str | None
    last_id: str | None
    has_more: bool
