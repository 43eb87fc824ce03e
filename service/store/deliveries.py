"""The deliveries table: events that are owed, and how their tries went."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa

from service.domain.ids import JobId, KeyId
from service.domain.job import Job
from service.domain.webhook import (
    Delivery,
    DeliveryFilter,
    DeliveryId,
    DeliveryState,
    EndpointId,
    Try,
)
from service.store.tables import PENDING, DeliveryRow
from service.store.transaction import Transaction

_deliveries: sa.Table = DeliveryRow.__table__  # type: ignore[attr-defined]
_PENDING = sa.text(PENDING)
MAX_WAIT = timedelta(hours=30)
MAX_LEASE = timedelta(minutes=5)
MAX_TRIES_KEPT = 20
TOPIC = "deliveries"  # rung when something is owed that was not before


def insert(tx: Transaction, delivery: Delivery, *, host: str, sequence: int = 0) -> None:
    tx.execute(
        sa.insert(_deliveries),
        {
            "id": delivery.id,
            "key_id": delivery.key_id,
            "job_id": delivery.job_id,
            "endpoint_id": delivery.endpoint_id,
            "event": delivery.event,
            "sequence": sequence,
            "url": delivery.url,
            "host": host,
            "snapshot": _snapshot(delivery.snapshot),
            "body": delivery.body,
            "state": delivery.state,
            "next_at": delivery.next_at,
            "tries": [],
            "created_at": delivery.created_at,
        },
    )
    tx.notify(TOPIC)


def refresh(tx: Transaction, job: Job, event: str, url: str) -> bool:
    """Let one that was never tried tell of `job` as it is now; False when there is none such."""
    statement = (
        sa.update(_deliveries)
        .where(
            _deliveries.c.job_id == job.id,
            _deliveries.c.event == event,
            _deliveries.c.url == url,
            _PENDING,
            _deliveries.c.body.is_(None),
        )
        .values(snapshot=_snapshot(job))
    )
    return tx.execute(statement).rowcount > 0


def next_sequence(tx: Transaction, job_id: JobId, event: str, url: str) -> int:
    """A sequence that this event of the job has not had for this URL: rows may be gone again."""
    statement = (
        sa.select(sa.func.coalesce(sa.func.max(_deliveries.c.sequence) + 1, 0))
        .select_from(_deliveries)
        .where(
            _deliveries.c.job_id == job_id, _deliveries.c.event == event, _deliveries.c.url == url
        )
    )
    return int(tx.execute(statement).scalar_one())


class Due(NamedTuple):
    """What is to be tried, and whom it keeps busy."""

    id: DeliveryId
    host: str
    key_id: KeyId


def due(
    tx: Transaction, now: datetime, *, busy_hosts: list[str], busy_keys: list[str], size: int
) -> list[Due]:
    """What is to be tried now and by nobody else, longest due first."""
    statement = (
        sa.select(_deliveries.c.id, _deliveries.c.host, _deliveries.c.key_id)
        .where(_PENDING, _is_due(now), _unheld(now))
        .order_by(_deliveries.c.next_at, _deliveries.c.id)
        .limit(size)
    )
    if busy_hosts:
        statement = statement.where(_deliveries.c.host.not_in(busy_hosts))
    if busy_keys:
        statement = statement.where(_deliveries.c.key_id.not_in(busy_keys))
    return [Due._make(row) for row in tx.execute(statement)]


def take(
    tx: Transaction, delivery_id: DeliveryId, *, now: datetime, lease: timedelta
) -> Delivery | None:
    """Begin a try, fenced: None when it is not due any more, or another sender's."""
    statement = (
        sa.update(_deliveries)
        .where(_deliveries.c.id == delivery_id, _PENDING, _is_due(now), _unheld(now))
        .values(
            fence=_deliveries.c.fence + 1,
            lease_until=now + lease,
        )
        .returning(_deliveries)
    )
    row = tx.execute(statement).mappings().first()
    return None if row is None else _to_delivery(row)


def fix_body(tx: Transaction, delivery: Delivery, body: bytes) -> None:
    """From here on every try sends these very bytes."""
    tx.execute(_mine(delivery).values(body=body, snapshot=None))


def settle(
    tx: Transaction,
    delivery: Delivery,
    made: Try,
    *,
    state: DeliveryState,
    next_at: datetime | None,
) -> bool:
    """Record a try; False when the delivery was taken by another since."""
    statement = _mine(
        delivery
    ).values(
        state=state,
        next_at=next_at,
        lease_until=None,
        attempt=delivery.attempt + 1,  # not when it is taken: a sender that died made no try
        tries=[one.model_dump(mode="json") for one in (*delivery.tries, made)[-MAX_TRIES_KEPT:]],
        delivered_at=made.at if state is DeliveryState.DELIVERED else None,
    )
    return tx.execute(statement).rowcount == 1


def replay(tx: Transaction, delivery: Delivery, *, now: datetime) -> Delivery:
    """Owe it anew, with the same id and body; whoever is trying it now is fenced off."""
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
    tx.notify(TOPIC)
    return _to_delivery(tx.execute(statement).mappings().one())


def give_up(tx: Transaction, endpoint_id: EndpointId) -> None:
    """Nothing more is owed to an endpoint that is disabled."""
    tx.execute(
        sa.update(_deliveries)
        .where(_deliveries.c.endpoint_id == endpoint_id, _PENDING)
        .values(state=DeliveryState.DISABLED, next_at=None, lease_until=None)
    )


def get(tx: Transaction, delivery_id: DeliveryId, *, key_id: KeyId) -> Delivery | None:
    statement = sa.select(_deliveries).where(
        _deliveries.c.id == delivery_id, _deliveries.c.key_id == key_id
    )
    row = tx.execute(statement).mappings().first()
    return None if row is None else _to_delivery(row)


def page(
    tx: Transaction,
    key_id: KeyId,
    *,
    size: int,
    after: DeliveryId | None = None,
    wanted: DeliveryFilter,
) -> list[Delivery]:
    """A key's deliveries, newest first, beginning behind `after`."""
    conditions = [_deliveries.c.key_id == key_id]
    if after is not None:
        conditions.append(_deliveries.c.id < after)
    for column, value in (
        (_deliveries.c.job_id, wanted.job_id),
        (_deliveries.c.endpoint_id, wanted.endpoint_id),
        (_deliveries.c.state, wanted.state),
    ):
        if value is not None:
            conditions.append(column == value)
    statement = (
        sa.select(_deliveries).where(*conditions).order_by(sa.desc(_deliveries.c.id)).limit(size)
    )
    return [_to_delivery(row) for row in tx.execute(statement).mappings()]


def forget_of(tx: Transaction, job_id: JobId) -> None:
    """Delete what was settled of a job; what is still owed of it is sent all the same."""
    tx.execute(
        sa.delete(_deliveries).where(
            _deliveries.c.job_id == job_id, _deliveries.c.state != DeliveryState.PENDING
        )
    )


def old(tx: Transaction, before: datetime) -> bool:
    """Whether there are settled deliveries made before that moment."""
    statement = sa.select(_deliveries.c.id).where(
        _deliveries.c.created_at < before, _deliveries.c.state != DeliveryState.PENDING
    )
    return tx.execute(statement.limit(1)).first() is not None


def forget(tx: Transaction, before: datetime, *, size: int) -> int:
    """Delete up to `size` settled deliveries made before that moment."""
    old = (
        sa.select(_deliveries.c.id)
        .where(_deliveries.c.created_at < before, _deliveries.c.state != DeliveryState.PENDING)
        .limit(size)
    )
    return tx.execute(sa.delete(_deliveries).where(_deliveries.c.id.in_(old))).rowcount


def _is_due(now: datetime) -> sa.ColumnElement[bool]:
    """No wait is longer: one that seems so is of before the clock was set back."""
    return sa.or_(_deliveries.c.next_at <= now, _deliveries.c.next_at > now + MAX_WAIT)


def _unheld(now: datetime) -> sa.ColumnElement[bool]:
    """No sender has it, or the one that had it died."""
    until = _deliveries.c.lease_until
    return sa.or_(until.is_(None), until < now, until > now + MAX_LEASE)


def _mine(delivery: Delivery) -> sa.Update:
    """Guarded by the fence: a sender that was given up writes nothing."""
    return sa.update(_deliveries).where(
        _deliveries.c.id == delivery.id, _PENDING, _deliveries.c.fence == delivery.fence
    )


def _snapshot(job: Job | None) -> dict[str, Any] | None:
    return None if job is None else job.model_dump(mode="json")


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
        snapshot=None if row["snapshot"] is None else Job.model_validate(row["snapshot"]),
        body=row["body"],
        attempt=row["attempt"],
        fence=row["fence"],
        next_at=row["next_at"],
        delivered_at=row["delivered_at"],
        tries=tuple(Try.model_validate(one) for one in row["tries"]),
    )
