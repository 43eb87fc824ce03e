"""Transactional outbox: webhook deliveries are inserted in the transaction of their event."""

from datetime import datetime
from functools import partial

from service.domain import ids
from service.domain.event import (
    DEFAULT_EVENTS,
    Delivery,
    DeliveryId,
    DeliveryState,
    EndpointId,
    EventKind,
)
from service.domain.ids import EventId
from service.domain.job import Job
from service.store import deliveries, events
from service.store.transaction import Transaction

Target = tuple[str, EndpointId | None]


def enqueue(tx: Transaction, event: EventKind, job: Job, now: datetime) -> None:
    """Record an event of this job, and one delivery for each URL that subscribes to it.

    It is written last of all that is committed together: the lock that keeps ids in order must not
    be held while a lock of a row is waited for.
    """
    tx.before_commit.append(partial(_record, tx, event, job, now))


def _record(tx: Transaction, event: EventKind, job: Job, now: datetime) -> None:
    event_id = events.append(tx, event, job.key_id, job=job, now=now)
    for target in _targets(tx, event, job):
        _insert(tx, event_id, event, job, target, now)


def enqueue_latest(tx: Transaction, event: EventKind, job: Job, now: datetime) -> None:
    """Record a coalescing event: it replaces the one before it, also in pending deliveries."""
    tx.before_commit.append(partial(_record_latest, tx, event, job, now))


def _record_latest(tx: Transaction, event: EventKind, job: Job, now: datetime) -> None:
    event_id = events.append(tx, event, job.key_id, job=job, now=now)
    for target in _targets(tx, event, job):
        url, _ = target
        if not deliveries.point_at(tx, event_id, job.id, event, url):
            _insert(tx, event_id, event, job, target, now)
    events.delete_superseded(tx, event_id, job.id, event)


def _targets(tx: Transaction, event: EventKind, job: Job) -> list[Target]:
    """List the subscribed URLs; one that is both registered and the job's own comes once."""
    targets: dict[str, EndpointId | None] = {}
    if job.webhook_url is not None and event in (job.webhook_events or DEFAULT_EVENTS):
        targets[job.webhook_url] = None
    for endpoint in deliveries.endpoints_of(tx, job.key_id):
        if endpoint.disabled_at is None and event in endpoint.events:
            targets[endpoint.url] = endpoint.id
    return list(targets.items())


def _insert(
    tx: Transaction,
    event_id: EventId,
    event: EventKind,
    job: Job,
    target: Target,
    now: datetime,
) -> None:
    url, endpoint_id = target
    delivery = Delivery(
        id=DeliveryId(ids.new("msg")),
        key_id=job.key_id,
        event=event,
        url=url,
        state=DeliveryState.PENDING,
        created_at=now,
        job_id=job.id,
        endpoint_id=endpoint_id,
        event_id=event_id,
        next_at=now,
    )
    deliveries.insert(tx, delivery)
