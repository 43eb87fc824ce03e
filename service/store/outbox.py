"""Transactional outbox: webhook deliveries are inserted in the transaction of their event."""

from datetime import datetime
from urllib.parse import urlsplit

from service.domain import ids
from service.domain.event import DEFAULT_EVENTS, EventKind
from service.domain.job import Job
from service.domain.webhook import Delivery, DeliveryId, DeliveryState, EndpointId
from service.store import deliveries, endpoints
from service.store.transaction import Transaction

Target = tuple[str, EndpointId | None]


def enqueue(tx: Transaction, event: EventKind, job: Job, now: datetime) -> None:
    """Insert one delivery for each URL subscribed to this event of this job."""
    for target in _targets(tx, event, job):
        _insert(tx, event, job, target, now)


def enqueue_latest(tx: Transaction, event: EventKind, job: Job, now: datetime) -> None:
    """Enqueue a coalescing event: a delivery that was not tried yet is updated in place."""
    for target in _targets(tx, event, job):
        url, _ = target
        if not deliveries.refresh(tx, job, event, url):
            number = deliveries.next_sequence(tx, job.id, event, url)
            _insert(tx, event, job, target, now, sequence=number)


def host_of(url: str) -> str:
    """Return the host of a URL, by which concurrent deliveries are limited."""
    return (urlsplit(url).hostname or "").rstrip(".")[:300]


def _targets(tx: Transaction, event: EventKind, job: Job) -> list[Target]:
    """List the subscribed URLs; one that is both registered and the job's own comes once."""
    targets: dict[str, EndpointId | None] = {}
    if job.webhook_url is not None and event in (job.webhook_events or DEFAULT_EVENTS):
        targets[job.webhook_url] = None
    for endpoint in endpoints.of_key(tx, job.key_id):
        if endpoint.disabled_at is None and event in endpoint.events:
            targets[endpoint.url] = endpoint.id
    return list(targets.items())


def _insert(
    tx: Transaction,
    event: EventKind,
    job: Job,
    target: Target,
    now: datetime,
    *,
    sequence: int = 0,
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
        snapshot=job,
        next_at=now,
    )
    deliveries.insert(tx, delivery, host=host_of(url), sequence=sequence)
