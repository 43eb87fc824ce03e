"""What others must hear is written here, in the transaction that makes it true."""

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
    """One delivery for each URL that wants to hear of this event of this job."""
    for target in _targets(tx, event, job):
        _owe(tx, event, job, target, now)


def enqueue_latest(tx: Transaction, event: EventKind, job: Job, now: datetime) -> None:
    """The same for what only its newest state counts of: one that still waits is brought up to
    date in place of a second one."""
    for target in _targets(tx, event, job):
        url, _ = target
        if not deliveries.refresh(tx, job, event, url):
            number = deliveries.next_sequence(tx, job.id, event, url)
            _owe(tx, event, job, target, now, sequence=number)


def host_of(url: str) -> str:
    """What deliveries are shared out by."""
    return (urlsplit(url).hostname or "").rstrip(".")[:300]


def _targets(tx: Transaction, event: EventKind, job: Job) -> list[Target]:
    """A URL that is both registered and named by the job hears of it once."""
    targets: dict[str, EndpointId | None] = {}
    if job.webhook_url is not None and event in (job.webhook_events or DEFAULT_EVENTS):
        targets[job.webhook_url] = None
    for endpoint in endpoints.of_key(tx, job.key_id):
        if endpoint.disabled_at is None and event in endpoint.events:
            targets[endpoint.url] = endpoint.id
    return list(targets.items())


def _owe(
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
