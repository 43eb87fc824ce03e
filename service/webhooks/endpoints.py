"""Operations on webhook endpoints (register, rotate, test, enable, remove) and replay."""

from dataclasses import replace
from datetime import datetime

from service.domain import ids
from service.domain.errors import Conflict, NotFound
from service.domain.event import (
    TEST_EVENT,
    Delivery,
    DeliveryId,
    DeliveryState,
    Endpoint,
    EndpointId,
    Secrets,
)
from service.domain.ids import KeyId
from service.store import deliveries, events, keys
from service.store.audit import Actor
from service.store.transaction import Transaction

MAX_PER_KEY = 16


def register(
    tx: Transaction,
    key_id: KeyId,
    url: str,
    events: tuple[str, ...],
    now: datetime,
    actor: Actor | None = None,
) -> Endpoint:
    """Register an endpoint; here and below, the change of an admin is recorded. Raises Conflict
    over the limit, or for a URL that is registered."""
    keys.lock(tx, key_id)  # so that two at once do not exceed the limit
    existing = deliveries.endpoints_of(tx, key_id)
    if len(existing) >= MAX_PER_KEY:
        raise Conflict(f"a key may have {MAX_PER_KEY} endpoints", code="too_many_endpoints")
    if any(endpoint.url == url for endpoint in existing):
        raise Conflict("this URL is already registered", code="known_endpoint")
    endpoint = Endpoint(
        id=EndpointId(ids.new("wep")),
        key_id=key_id,
        url=url,
        events=events,
        secrets=Secrets.new(),
        created_at=now,
    )
    deliveries.insert_endpoint(tx, endpoint)
    if actor is not None:
        actor.record(tx, "webhook.create", endpoint.id)
    return endpoint


def find(tx: Transaction, endpoint_id: EndpointId, key_id: KeyId | None) -> Endpoint:
    """Return an endpoint. Raises NotFound if it does not exist or, unless `key_id` is None, is not
    this key's."""
    endpoint = deliveries.get_endpoint(tx, endpoint_id, key_id=key_id)
    if endpoint is None:
        raise NotFound(f"no webhook endpoint {endpoint_id}")
    return endpoint


def rotate(
    tx: Transaction,
    endpoint_id: EndpointId,
    key_id: KeyId,
    now: datetime,
    actor: Actor | None = None,
) -> Secrets:
    """Create a new secret; for a day deliveries are signed by the old one too."""
    endpoint = find(tx, endpoint_id, key_id)
    secrets = endpoint.secrets.rotated(now)
    deliveries.rotate_secrets(tx, endpoint, secrets)
    if actor is not None:
        actor.record(tx, "webhook.rotate", endpoint_id)
    return secrets


def enable(
    tx: Transaction, endpoint_id: EndpointId, key_id: KeyId | None, actor: Actor | None = None
) -> Endpoint:
    """Enable an endpoint again. Its disabled deliveries stay so until they are replayed."""
    before = find(tx, endpoint_id, key_id)
    deliveries.enable_endpoint(tx, endpoint_id)
    after = find(tx, endpoint_id, key_id)
    if actor is not None and after != before:
        actor.record(tx, "webhook.enable", endpoint_id)
    return after


def remove(
    tx: Transaction, endpoint_id: EndpointId, key_id: KeyId, actor: Actor | None = None
) -> None:
    find(tx, endpoint_id, key_id)
    deliveries.delete_endpoint(tx, endpoint_id)
    if actor is not None:
        actor.record(tx, "webhook.delete", endpoint_id)


def send_test(
    tx: Transaction,
    endpoint_id: EndpointId,
    key_id: KeyId | None,
    now: datetime,
    actor: Actor | None = None,
) -> Delivery:
    """Enqueue a test event for an endpoint. Raises Conflict if it is disabled."""
    endpoint = find(tx, endpoint_id, key_id)
    _check_enabled(endpoint)
    delivery = Delivery(
        id=DeliveryId(ids.new("msg")),
        key_id=endpoint.key_id,
        event=TEST_EVENT,
        url=endpoint.url,
        state=DeliveryState.PENDING,
        created_at=now,
        endpoint_id=endpoint.id,
        next_at=now,
    )

    def record() -> None:
        event_id = events.append(tx, TEST_EVENT, endpoint.key_id, now=now)
        deliveries.insert(tx, replace(delivery, event_id=event_id))

    # As in store/outbox.py: the order of events is taken when nothing else is waited for.
    tx.before_commit.append(record)
    if actor is not None:
        actor.record(tx, "webhook.test", endpoint_id)
    return delivery


def replay(
    tx: Transaction,
    delivery_id: DeliveryId,
    key_id: KeyId | None,
    now: datetime,
    actor: Actor | None = None,
) -> Delivery:
    """Make a delivery pending again, with its id and body and a new series of tries.

    A pending one without a finished try stays as it is. Raises Conflict if its endpoint is
    disabled.
    """
    delivery = find_delivery(tx, delivery_id, key_id)
    if delivery.endpoint_id is not None:
        _check_enabled(find(tx, delivery.endpoint_id, key_id))
    if delivery.state is DeliveryState.PENDING and not delivery.tries:
        return delivery
    if actor is not None:
        actor.record(tx, "webhook.replay", delivery_id)
    return deliveries.replay(tx, delivery, now=now)


def find_delivery(tx: Transaction, delivery_id: DeliveryId, key_id: KeyId | None) -> Delivery:
    """Return a delivery. Raises NotFound as `find` does."""
    delivery = deliveries.get(tx, delivery_id, key_id=key_id)
    if delivery is None:
        raise NotFound(f"no webhook delivery {delivery_id}")
    return delivery


def rotate_key_secrets(
    tx: Transaction, key_id: KeyId, now: datetime, actor: Actor | None = None
) -> Secrets:
    """Rotate the secret that signs for the `webhook_url` of this key's jobs."""
    secrets = keys.signing_secrets(tx, key_id).rotated(now)
    keys.set_signing_secrets(tx, key_id, secrets)
    if actor is not None:
        actor.record(tx, "webhook.rotate", key_id)
    return secrets


def _check_enabled(endpoint: Endpoint) -> None:
    if endpoint.disabled_at is not None:
        raise Conflict(
            f"the endpoint is disabled: {endpoint.disabled_reason}; enable it first",
            code="endpoint_disabled",
        )
