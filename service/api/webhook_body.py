"""Render webhook bodies: the event, its time, and a snapshot of the job."""

import json
from dataclasses import dataclass
from typing import Any

from service.api.schemas.jobs import JobOut
from service.api.signed_links import SignedLinks
from service.domain.job import Job
from service.domain.models.catalog import CARDS
from service.domain.webhook import Delivery

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
        """Return at most MAX_BYTES; `omitted` lists the fields that were dropped for that."""
        data = self._data(delivery, job)
        body = _encode(delivery, data)
        for name in _OPTIONAL:
            if len(body) > MAX_BYTES:
                data[name] = None
                data["omitted"] = [*data.get("omitted", []), name]
                body = _encode(delivery, data)
        return body

    def _data(self, delivery: Delivery, job: Job | None) -> dict[str, Any]:
        if job is None:
            return {"id": delivery.endpoint_id, "object": "webhook_endpoint"}
        return self._job(job)

    def _job(self, job: Job) -> dict[str, Any]:
        links = SignedLinks(self.link_secret, self.public_url or job.api_url or "")
        job_out = JobOut.from_domain(job, links, card=CARDS.get(job.request.model))
        return job_out.model_dump(mode="json")


def _encode(delivery: Delivery, data: dict[str, Any]) -> bytes:
    body = {
        "type": delivery.event,
        "timestamp": delivery.created_at.isoformat().replace("+00:00", "Z"),
        "data": data,
    }
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
