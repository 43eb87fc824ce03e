"""One try at one delivery: take it, send it, write down what happened."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from service.domain.ports import Clock
from service.domain.webhook import Delivery, DeliveryId, DeliveryState, Endpoint, Secrets, Try
from service.egress.client import Answer, Egress, TargetFailed, TargetRefused
from service.failpoint import failpoint
from service.store import deliveries, endpoints, keys
from service.store.database import Database
from service.store.transaction import Transaction
from service.webhooks import sign
from service.webhooks.timetable import next_try

TIMEOUT = timedelta(seconds=15)
# Longer than any try can take: whoever holds a delivery for so long has died.
LEASE = timedelta(seconds=60)
# An endpoint at which every try failed for so long is given up.
PATIENCE = timedelta(days=5)
_GONE = 410

Render = Callable[[Delivery], bytes]


@dataclass(frozen=True)
class _Taken:
    delivery: Delivery
    body: bytes
    secrets: Secrets


@dataclass(frozen=True)
class Sender:
    """Makes tries. Threads may share one."""

    db: Database
    egress: Egress
    render: Render
    clock: Clock
    timeout: timedelta = TIMEOUT

    def send(self, delivery_id: DeliveryId) -> Try | None:
        """One try; None when it is not due any more, or somebody else is at it.

        A crash after the request and before the record means that it is sent again: at least
        once, and always with the same id and body.
        """
        taken = self.db.write(lambda tx: self._take(tx, delivery_id)).result()
        if taken is None:
            return None
        failpoint("webhook.taken")
        made, answer = self._try(taken)
        failpoint("webhook.sent")
        self.db.write(lambda tx: _record(tx, taken.delivery, made, answer)).result()
        return made

    def _take(self, tx: Transaction, delivery_id: DeliveryId) -> _Taken | None:
        delivery = deliveries.take(tx, delivery_id, now=self.clock(), lease=LEASE)
        if delivery is None:
            return None
        body = delivery.body
        if body is None:
            body = self.render(delivery)
            deliveries.fix_body(tx, delivery, body)
        return _Taken(delivery, body, _secrets(tx, delivery))

    def _try(self, taken: _Taken) -> tuple[Try, Answer | None]:
        """The clock is read for each try: the receiver checks how old the signature is."""
        now = self.clock()
        signed = sign.headers(taken.delivery.id, taken.body, taken.secrets.good(now), now)
        headers = {"Content-Type": "application/json", **signed}
        began = time.perf_counter()
        try:
            answer = self.egress.post(
                taken.delivery.url, headers=headers, content=taken.body, timeout=self.timeout
            )
        except TargetRefused:
            return self._made(began, error="address_refused"), None
        except TargetFailed as failed:
            return self._made(began, error=failed.reason), None
        return self._made(began, status=answer.status), answer

    def _made(self, began: float, *, status: int | None = None, error: str | None = None) -> Try:
        spent = round((time.perf_counter() - began) * 1000)
        return Try(at=self.clock(), status=status, error=error, duration_ms=spent)


def _secrets(tx: Transaction, delivery: Delivery) -> Secrets:
    """The endpoint's own, or those of the key for a URL that only its job names."""
    if delivery.endpoint_id is None:
        return keys.signing_secrets(tx, delivery.key_id)
    endpoint = endpoints.get(tx, delivery.endpoint_id)
    assert endpoint is not None, "what is owed to an endpoint goes with it"
    return endpoint.secrets


def _record(tx: Transaction, delivery: Delivery, made: Try, answer: Answer | None) -> None:
    state, next_at = _verdict(delivery, made, answer)
    mine = deliveries.settle(tx, delivery, made, state=state, next_at=next_at)
    if mine and delivery.endpoint_id is not None:
        endpoint = endpoints.get(tx, delivery.endpoint_id)
        if endpoint is not None and endpoint.disabled_at is None:
            _judge(tx, endpoint, made)


def _verdict(
    delivery: Delivery, made: Try, answer: Answer | None
) -> tuple[DeliveryState, datetime | None]:
    if made.succeeded:
        return DeliveryState.DELIVERED, None
    if made.status == _GONE:
        return DeliveryState.DISABLED, None
    next_at = next_try(
        delivery.attempt + 1, made.at, None if answer is None else answer.retry_after
    )
    return (DeliveryState.DEAD if next_at is None else DeliveryState.PENDING), next_at


def _judge(tx: Transaction, endpoint: Endpoint, made: Try) -> None:
    """Keep count of an endpoint's failures, and disable it when it is gone."""
    if made.succeeded:
        if endpoint.failing_since is not None:
            endpoints.note_failing(tx, endpoint.id, None)
        return
    since = endpoint.failing_since or made.at
    if made.status == _GONE:
        reason = "it answered 410 Gone"
    elif made.at - since >= PATIENCE:
        reason = f"every try failed for {PATIENCE.days} days"
    else:
        endpoints.note_failing(tx, endpoint.id, since)
        return
    endpoints.disable(tx, endpoint.id, now=made.at, reason=reason)
    deliveries.give_up(tx, endpoint.id)
