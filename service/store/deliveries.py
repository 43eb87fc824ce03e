"""The tables of webhooks: registered endpoints and their secrets, deliveries and their tries."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa

from service.domain import topics
from service.domain.event import (
    Delivery,
    DeliveryFilter,
    DeliveryId,
    DeliveryState,
    Endpoint,
    EndpointId,
    Secrets,
    Try,
)
from service.domain.ids import EventId, JobId, KeyId
from service.domain.metrics import series
from service.domain.url import TargetRefused, split_url
from service.store import totals
from service.store.tables import OF_ALL, PENDING, DeliveryRow, EndpointRow
from service.store.transaction import Transaction

_deliveries: sa.Table = DeliveryRow.__table__  # type: ignore[attr-defined]
_PENDING = sa.text(PENDING)
MAX_WAIT = timedelta(hours=30)
MAX_LEASE = timedelta(minutes=5)
MAX_TRIES_KEPT = 20


def insert(tx: Transaction, delivery: Delivery) -> None:
    tx.execute(
        sa.insert(_deliveries),
        {
            "id": delivery.id,
            "key_id": delivery.key_id,
            "job_id": delivery.job_id,
            "endpoint_id": delivery.endpoint_id,
            "event": delivery.event,
            "url": delivery.url,
            "host": _host_of(delivery.url),
            "event_id": delivery.event_id,
            "body": delivery.body,
            "state": delivery.state,
            "next_at": delivery.next_at,
            "tries": [],
            "created_at": delivery.created_at,
        },
    )
    tx.notify(topics.DELIVERIES)


def _host_of(url: str) -> str:
    """Return the host of a URL, by which concurrent deliveries are limited."""
    try:
        return split_url(url).host[:300]
    except TargetRefused:
        return url[:300]  # accepted by an earlier release


def point_at(tx: Transaction, event_id: EventId, job_id: JobId, event: str, url: str) -> bool:
    """Let the newest pending delivery that was never tried send this later event of its kind
    instead; False if there is none. A replay may have left an older one, which keeps its event."""
    newest = sa.select(sa.func.max(_deliveries.c.id)).where(
        _deliveries.c.job_id == job_id,
        _deliveries.c.event == event,
        _deliveries.c.url == url,
        _PENDING,
        _deliveries.c.body.is_(None),
    )
    statement = sa.update(_deliveries).where(_deliveries.c.id == newest.scalar_subquery())
    return tx.execute(statement.values(event_id=event_id)).rowcount > 0


class Due(NamedTuple):
    """A delivery that is due, with the host and the key whose limits it counts against."""

    id: DeliveryId
    host: str
    key_id: KeyId


def due(
    tx: Transaction,
    now: datetime,
    *,
    busy_hosts: list[str],
    busy_keys: list[str],
    paused: Sequence[DeliveryId] = (),
    size: int,
) -> list[Due]:
    """List due deliveries that no sender has leased and that are not paused, longest due first."""
    statement = (
        sa.select(_deliveries.c.id, _deliveries.c.host, _deliveries.c.key_id)
        .where(_PENDING, _is_due(now), _is_unleased(now))
        .order_by(_deliveries.c.next_at, _deliveries.c.id)
        .limit(size)
    )
    if busy_hosts:
        statement = statement.where(_deliveries.c.host.not_in(busy_hosts))
    if paused:
        statement = statement.where(_deliveries.c.id.not_in(paused))
    if busy_keys:
        statement = statement.where(_deliveries.c.key_id.not_in(busy_keys))
    return [Due._make(row) for row in tx.execute(statement)]


def take(
    tx: Transaction, delivery_id: DeliveryId, *, now: datetime, lease: timedelta
) -> Delivery | None:
    """Lease a delivery for one try, under a new fence; None if it is not due or is leased."""
    statement = (
        sa.update(_deliveries)
        .where(_deliveries.c.id == delivery_id, _PENDING, _is_due(now), _is_unleased(now))
        .values(
            fence=_deliveries.c.fence + 1,
            lease_until=now + lease,
        )
        .returning(_deliveries)
    )
    row = tx.execute(statement).mappings().first()
    return None if row is None else _to_delivery(row)


def set_body(tx: Transaction, delivery: Delivery, body: bytes) -> None:
    """Store the rendered body: every later try sends the same bytes."""
    tx.execute(_fenced_update(delivery).values(body=body))


def settle(
    tx: Transaction,
    delivery: Delivery,
    outcome: Try,
    *,
    state: DeliveryState,
    next_at: datetime | None,
) -> bool:
    """Record the outcome of a try; False if another sender has leased the delivery since."""
    statement = _fenced_update(
        delivery
    ).values(
        state=state,
        next_at=next_at,
        lease_until=None,
        attempt=delivery.attempt + 1,  # not when leased: a sender that died made no try
        tries=[
            each.model_dump(mode="json") for each in (*delivery.tries, outcome)[-MAX_TRIES_KEPT:]
        ],
        delivered_at=outcome.at if state is DeliveryState.DELIVERED else None,
    )
    is_settled = tx.execute(statement).rowcount == 1
    if is_settled and state is not DeliveryState.PENDING:
        totals.add(tx, {series("webhook_deliveries", outcome=state): 1})
    return is_settled


def replay(tx: Transaction, delivery: Delivery, *, now: datetime) -> Delivery:
    """Make it pending again with the same id and body; a sender at work is fenced off."""
    statement = (
        sa.update(_deliveries)
        .where(_deliveries.c.id == delivery.id)
        .values(
            state=DeliveryState.PENDING,
            attempt=0,
            fence=_deliveries.c.fence + 1,
            next_at=now,
            lease_until=None,
            delivered_at=None,
        )
        .returning(_deliveries)
    )
    tx.notify(topics.DELIVERIES)
    return _to_delivery(tx.execute(statement).mappings().one())


def disable_pending(tx: Transaction, endpoint_id: EndpointId) -> None:
    """Disable all pending deliveries of a disabled endpoint."""
    tx.execute(
        sa.update(_deliveries)
        .where(_deliveries.c.endpoint_id == endpoint_id, _PENDING)
        .values(state=DeliveryState.DISABLED, next_at=None, lease_until=None)
    )


def get(tx: Transaction, delivery_id: DeliveryId, *, key_id: KeyId | None) -> Delivery | None:
    """Return the delivery if it exists and, unless `key_id` is None, belongs to that key."""
    statement = sa.select(_deliveries).where(_deliveries.c.id == delivery_id)
    if key_id is not None:
        statement = statement.where(_deliveries.c.key_id == key_id)
    row = tx.execute(statement).mappings().first()
    return None if row is None else _to_delivery(row)


def page(
    tx: Transaction,
    key_id: KeyId | None,
    *,
    size: int,
    after: DeliveryId | None = None,
    filters: DeliveryFilter,
) -> list[Delivery]:
    """List the deliveries of a key, or of all, newest first, starting after `after`."""
    owner: sa.ColumnElement[Any] = _deliveries.c.key_id
    state: sa.ColumnElement[Any] = _deliveries.c.state
    if filters.job_id is not None or filters.endpoint_id is not None:
        # Expressions that no index serves: else SQLite may read all deliveries of the key.
        owner, state = owner.concat(""), state.concat("")
    conditions: list[sa.ColumnElement[bool] | sa.TextClause]
    conditions = [sa.text(OF_ALL)] if key_id is None else [owner == key_id]
    if after is not None:
        conditions.append(_deliveries.c.id < after)
    for column, value in (
        (_deliveries.c.job_id, filters.job_id),
        (_deliveries.c.endpoint_id, filters.endpoint_id),
        (state, filters.state),
    ):
        if value is not None:
            conditions.append(column == value)
    statement = (
        sa.select(_deliveries).where(*conditions).order_by(sa.desc(_deliveries.c.id)).limit(size)
    )
    return [_to_delivery(row) for row in tx.execute(statement).mappings()]


def delete_settled_of_job(tx: Transaction, job_id: JobId) -> None:
    """Delete a job's settled deliveries; its pending ones are still sent."""
    tx.execute(
        sa.delete(_deliveries).where(
            _deliveries.c.job_id == job_id, _deliveries.c.state != DeliveryState.PENDING
        )
    )


def has_old(tx: Transaction, before: datetime) -> bool:
    """Tell whether settled deliveries created before that moment exist."""
    statement = sa.select(_deliveries.c.id).where(
        _deliveries.c.created_at < before, _deliveries.c.state != DeliveryState.PENDING
    )
    return tx.execute(statement.limit(1)).first() is not None


def delete_old(tx: Transaction, before: datetime, *, size: int) -> int:
    """Delete up to `size` settled deliveries created before that moment."""
    old = (
        sa.select(_deliveries.c.id)
        .where(_deliveries.c.created_at < before, _deliveries.c.state != DeliveryState.PENDING)
        .limit(size)
    )
    return tx.execute(sa.delete(_deliveries).where(_deliveries.c.id.in_(old))).rowcount


def _is_due(now: datetime) -> sa.ColumnElement[bool]:
    """Due by now; or later than any wait allows, so scheduled before the clock was set back."""
    return sa.or_(_deliveries.c.next_at <= now, _deliveries.c.next_at > now + MAX_WAIT)


def _is_unleased(now: datetime) -> sa.ColumnElement[bool]:
    """Leased by no sender, or its lease has expired."""
    until = _deliveries.c.lease_until
    return sa.or_(until.is_(None), until < now, until > now + MAX_LEASE)


def _fenced_update(delivery: Delivery) -> sa.Update:
    """An UPDATE guarded by the fence: a sender whose lease expired writes nothing."""
    return sa.update(_deliveries).where(
        _deliveries.c.id == delivery.id, _PENDING, _deliveries.c.fence == delivery.fence
    )


def _to_delivery(row: Mapping[Any, Any]) -> Delivery:
    return Delivery(
        id=row["id"],
        key_id=row["key_id"],
        event=row["event"],
        url=row["url"],
        state=row["state"],
        created_at=row["created_at"],
        job_id=row["job_id"],
        endpoint_id=row["endpoint_id"],
        event_id=row["event_id"],
        body=row["body"],
        attempt=row["attempt"],
        fence=row["fence"],
        next_at=row["next_at"],
        delivered_at=row["delivered_at"],
        tries=tuple(Try.model_validate(each) for each in row["tries"]),
    )


_endpoints: sa.Table = EndpointRow.__table__  # type: ignore[attr-defined]


def insert_endpoint(tx: Transaction, endpoint: Endpoint) -> None:
    tx.execute(
        sa.insert(_endpoints),
        {
            "id": endpoint.id,
            "key_id": endpoint.key_id,
            "url": endpoint.url,
            "events": list(endpoint.events),
            "secret": endpoint.secrets.present,
            "created_at": endpoint.created_at,
        },
    )


def get_endpoint(
    tx: Transaction, endpoint_id: EndpointId, *, key_id: KeyId | None = None
) -> Endpoint | None:
    """Return the endpoint if it exists and, where `key_id` is given, belongs to that key."""
    statement = sa.select(_endpoints).where(_endpoints.c.id == endpoint_id)
    if key_id is not None:
        statement = statement.where(_endpoints.c.key_id == key_id)
    row = tx.execute(statement).mappings().first()
    return None if row is None else _to_endpoint(row)


def endpoints_of(tx: Transaction, key_id: KeyId) -> list[Endpoint]:
    """List a key's endpoints, oldest first."""
    return [_to_endpoint(row) for row in tx.execute(_OF_KEY, {"owner": key_id}).mappings()]


_OF_KEY = (
    sa.select(_endpoints)
    .where(_endpoints.c.key_id == sa.bindparam("owner"))
    .order_by(_endpoints.c.id)
)


def every_endpoint(tx: Transaction, *, size: int) -> list[Endpoint]:
    """List up to `size` endpoints of all keys: those that fail first, then the oldest."""
    statement = sa.select(_endpoints).order_by(
        _endpoints.c.failing_since.is_(None), _endpoints.c.id
    )
    return [_to_endpoint(row) for row in tx.execute(statement.limit(size)).mappings()]


def rotate_secrets(tx: Transaction, endpoint: Endpoint, secrets: Secrets) -> None:
    _set_endpoint(
        tx,
        endpoint.id,
        secret=secrets.present,
        old_secret=secrets.old,
        old_secret_until=secrets.old_until,
    )


def enable_endpoint(tx: Transaction, endpoint_id: EndpointId) -> None:
    _set_endpoint(tx, endpoint_id, disabled_at=None, disabled_reason=None, failing_since=None)


def disable_endpoint(
    tx: Transaction, endpoint_id: EndpointId, *, now: datetime, reason: str
) -> None:
    _set_endpoint(tx, endpoint_id, disabled_at=now, disabled_reason=reason)


def set_failing_since(tx: Transaction, endpoint_id: EndpointId, since: datetime | None) -> None:
    """Record since when every try at this endpoint has failed; None clears it."""
    _set_endpoint(tx, endpoint_id, failing_since=since)


def delete_endpoint(tx: Transaction, endpoint_id: EndpointId) -> None:
    tx.execute(sa.delete(_endpoints).where(_endpoints.c.id == endpoint_id))


def _set_endpoint(tx: Transaction, endpoint_id: EndpointId, **values: Any) -> None:
    tx.execute(sa.update(_endpoints).where(_endpoints.c.id == endpoint_id).values(**values))


def _to_endpoint(row: Mapping[Any, Any]) -> Endpoint:
    return Endpoint(
        id=row["id"],
        key_id=row["key_id"],
        url=row["url"],
        events=tuple(row["events"]),
        secrets=Secrets(row["secret"], row["old_secret"], row["old_secret_until"]),
        created_at=row["created_at"],
        failing_since=row["failing_since"],
        disabled_at=row["disabled_at"],
        disabled_reason=row["disabled_reason"],
    )
