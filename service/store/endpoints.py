"""The endpoints table: registered webhook URLs, their events and signing secrets."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from service.domain.event import Endpoint, EndpointId, Secrets
from service.domain.ids import KeyId
from service.store.tables import EndpointRow
from service.store.transaction import Transaction

_endpoints: sa.Table = EndpointRow.__table__  # type: ignore[attr-defined]


def insert(tx: Transaction, endpoint: Endpoint) -> None:
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


def get(
    tx: Transaction, endpoint_id: EndpointId, *, key_id: KeyId | None = None
) -> Endpoint | None:
    """Return the endpoint if it exists and, where `key_id` is given, belongs to that key."""
    statement = sa.select(_endpoints).where(_endpoints.c.id == endpoint_id)
    if key_id is not None:
        statement = statement.where(_endpoints.c.key_id == key_id)
    row = tx.execute(statement).mappings().first()
    return None if row is None else _to_endpoint(row)


def of_key(tx: Transaction, key_id: KeyId) -> list[Endpoint]:
    """List a key's endpoints, oldest first."""
    return [_to_endpoint(row) for row in tx.execute(_OF_KEY, {"owner": key_id}).mappings()]


_OF_KEY = (
    sa.select(_endpoints)
    .where(_endpoints.c.key_id == sa.bindparam("owner"))
    .order_by(_endpoints.c.id)
)


def every(tx: Transaction) -> list[Endpoint]:
    """List the endpoints of all keys: those that fail first, then the oldest."""
    statement = sa.select(_endpoints).order_by(
        _endpoints.c.failing_since.is_(None), _endpoints.c.id
    )
    return [_to_endpoint(row) for row in tx.execute(statement.limit(200)).mappings()]


def rotate(tx: Transaction, endpoint: Endpoint, secrets: Secrets) -> None:
    _set(
        tx,
        endpoint.id,
        secret=secrets.present,
        old_secret=secrets.old,
        old_secret_until=secrets.old_until,
    )


def enable(tx: Transaction, endpoint_id: EndpointId) -> None:
    _set(tx, endpoint_id, disabled_at=None, disabled_reason=None, failing_since=None)


def disable(tx: Transaction, endpoint_id: EndpointId, *, now: datetime, reason: str) -> None:
    _set(tx, endpoint_id, disabled_at=now, disabled_reason=reason)


def set_failing_since(tx: Transaction, endpoint_id: EndpointId, since: datetime | None) -> None:
    """Record since when every try at this endpoint has failed; None clears it."""
    _set(tx, endpoint_id, failing_since=since)


def delete(tx: Transaction, endpoint_id: EndpointId) -> None:
    tx.execute(sa.delete(_endpoints).where(_endpoints.c.id == endpoint_id))


def _set(tx: Transaction, endpoint_id: EndpointId, **values: Any) -> None:
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
