"""Render events, for webhooks and streams: the kind, its time, and a snapshot of the job."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from service.api.schemas.jobs import JobOut
from service.api.signed_links import SignedLinks
from service.domain.event import Delivery
from service.domain.job import Job
from service.domain.models.catalog import CARDS

# Receivers and their proxies accept this much; see Standard Webhooks, "Payload".
MAX_BYTES = 20_000
# Fields dropped, in this order, from a body that would be larger; `omitted` names them.
_OPTIONAL = ("input", "metadata")


@dataclass(frozen=True)
class WebhookBodies:
    """Render bodies. Their links use `public_url`, or else the address of the submit."""

    link_secret: bytes
    public_url: str | None

    def render(self, delivery: Delivery, job: Job | None) -> bytes:
        """Return the body of a delivery, at most MAX_BYTES."""
        if job is None:
            data = {"id": delivery.endpoint_id, "object": "webhook_endpoint"}
        else:
            data = self.data(job)
        return event_body(delivery.event, delivery.created_at, data)

    def data(self, job: Job) -> dict[str, Any]:
        """Return the job as clients see it, but for its place in the queue."""
        links = SignedLinks(self.link_secret, self.public_url or job.api_url or "")
        job_out = JobOut.from_domain(job, links, card=CARDS.get(job.request.model))
        return job_out.model_dump(mode="json")


def event_body(kind: str, at: datetime, data: dict[str, Any]) -> bytes:
    """Return at most MAX_BYTES; `omitted` lists the fields of `data` that were dropped for that."""
    body = _encode(kind, at, data)
    for name in _OPTIONAL:
        if len(body) > MAX_BYTES:
            data = {**data, name: None, "omitted": [*data.get("omitted", []), name]}
            body = _encode(kind, at, data)
    return body


def _encode(kind: str, at: datetime, data: dict[str, Any]) -> bytes:
    body = {"type": kind, "timestamp": at.isoformat().replace("+00:00", "Z"), "data": data}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
