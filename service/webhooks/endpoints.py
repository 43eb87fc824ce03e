"""What a customer does with its endpoints: register, rotate, test, enable, remove; and replay."""

from datetime import datetime

from service.domain import ids
from service.domain.errors import Conflict, NotFound
from service.domain.event import TEST_EVENT
from service.domain.ids import KeyId
from service.domain.webhook import (
    Delivery,
    DeliveryId,
    DeliveryState,
    Endpoint,
    EndpointId,
    Secrets,
)
from service.store import deliveries, endpoints, keys
from service.store.outbox import host_of
from service.store.transaction import Transaction

MAX_PER_KEY = 16


def register(
    tx: Transaction, key_id: KeyId, url: str, events: tuple[str, ...], now: datetime
) -> Endpoint:
    """A new endpoint with a secret of its own. Raises Conflict for one too many, or a known URL."""
    keys.hold(tx, key_id)  # so that two at once do not both find room
    known = endpoints.of_key(tx, key_id)
    if len(known) >= MAX_PER_KEY:
        raise Conflict(f"a key may have {MAX_PER_KEY} endpoints", code="too_many_endpoints")
    if any(one.url == url for one in known):
        raise Conflict("this URL is registered already", code="known_endpoint")
    endpoint = Endpoint(
        id=EndpointId(ids.new("wep")),
        key_id=key_id,
        url=url,
        events=events,
        secrets=Secrets.new(),
        created_at=now,
    )
    endpoints.insert(tx, endpoint)
    return endpoint


def find(tx: Transaction, endpoint_id: EndpointId, key_id: KeyId) -> Endpoint:
    """Raises NotFound for an endpoint that is not there or not this key's."""
    endpoint = endpoints.get(tx, endpoint_id, key_id=key_id)
    if endpoint is None:
        raise NotFound(f"no webhook endpoint {endpoint_id}")
    return endpoint


def rotate(tx: Transaction, endpoint_id: EndpointId, key_id: KeyId, now: datetime) -> Secrets:
    """A new secret; for a day every delivery is signed by the old one too."""
    endpoint = find(tx, endpoint_id, key_id)
    fresh = endpoint.secrets.rotated(now)
    endpoints.rotate(tx, endpoint, fresh)
    return fresh


def enable(tx: Transaction, endpoint_id: EndpointId, key_id: KeyId) -> Endpoint:
    """Take up a disabled endpoint again. What was given up stays so until it is replayed."""
    find(tx, endpoint_id, key_id)
    endpoints.enable(tx, endpoint_id)
    return find(tx, endpoint_id, key_id)


def remove(tx: Transaction, endpoint_id: EndpointId, key_id: KeyId) -> None:
    find(tx, endpoint_id, key_id)
    endpoints.delete(tx, endpoint_id)


def send_test(tx: Transaction, endpoint_id: EndpointId, key_id: KeyId, now: datetime) -> Delivery:
    """Owe the endpoint an event that says nothing. Raises Conflict when it is disabled."""
    endpoint = find(tx, endpoint_id, key_id)
    _refuse_disabled(endpoint)
    delivery = Delivery(
        id=DeliveryId(ids.new("msg")),
        key_id=key_id,
        event=TEST_EVENT,
        url=endpoint.url,
        state=DeliveryState.PENDING,
        created_at=now,
        endpoint_id=endpoint.id,
        next_at=now,
    )
    deliveries.insert(tx, delivery, host=host_of(endpoint.url))
    return delivery


def replay(tx: Transaction, delivery_id: DeliveryId, key_id: KeyId, now: datetime) -> Delivery:
    """Owe a delivery anew, with its id and body, from the top of the timetable.

    One whose first try is still to come, or is being made, is owed already and stays as it is.
    Raises Conflict for one whose endpoint is disabled.
    """
    delivery = find_delivery(tx, delivery_id, key_id)
    if delivery.endpoint_id is not None:
        _refuse_disabled(find(tx, delivery.endpoint_id, key_id))
    if delivery.state is DeliveryState.PENDING and not delivery.tries:
        return delivery
    return deliveries.replay(tx, delivery, now=now)


def find_delivery(tx: Transaction, delivery_id: DeliveryId, key_id: KeyId) -> Delivery:
    """Raises NotFound for a delivery that is not there or not this key's."""
    delivery = deliveries.get(tx, delivery_id, key_id=key_id)
    if delivery is None:
        raise NotFound(f"no webhook delivery {delivery_id}")
    return delivery


def rotate_own(tx: Transaction, key_id: KeyId, now: datetime) -> Secrets:
    """The same for what signs for the `webhook_url` of this key's jobs."""
    fresh = keys.signing_secrets(tx, key_id).rotated(now)
    keys.keep_secrets(tx, key_id, fresh)
    return fresh


def _refuse_disabled(endpoint: Endpoint) -> None:
    if endpoint.disabled_at is not None:
        raise Conflict(
            f"the endpoint is disabled: {endpoint.disabled_reason}; enable it first",
            code="endpoint_disabled",
        )
