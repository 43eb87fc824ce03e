"""What the body of a webhook says: the event, when it happened, and the job as it was then."""

import json
from dataclasses import dataclass
from typing import Any

from service.api.schemas.jobs import JobOut
from service.api.signed_links import SignedLinks
from service.domain.job import Job
from service.domain.models.catalog import CARDS
from service.domain.webhook import Delivery

# Receivers and the proxies before them take this much; see Standard Webhooks, "Payload".
MAX_BYTES = 20_000
# What is left out, in this order, of a body that would be larger; `omitted` names it.
_LARGE = ("input", "metadata")


@dataclass(frozen=True)
class WebhookBodies:
    """Writes bodies. Links in them lead to `public_url`, or else to where the job was submitted."""

    link_secret: bytes
    public_url: str | None

    def render(self, delivery: Delivery) -> bytes:
        """At most MOST_BYTES long: what a job's prompt and labels would make larger is left out,
        and the body says so."""
        data = self._data(delivery)
        body = _encoded(delivery, data)
        for name in _LARGE:
            if len(body) > MAX_BYTES:
                data[name] = None
                data["omitted"] = [*data.get("omitted", []), name]
                body = _encoded(delivery, data)
        return body

    def _data(self, delivery: Delivery) -> dict[str, Any]:
        if delivery.snapshot is None:
            return {"id": delivery.endpoint_id, "object": "webhook_endpoint"}
        return self._job(delivery.snapshot)

    def _job(self, job: Job) -> dict[str, Any]:
        links = SignedLinks(self.link_secret, self.public_url or job.api_url or "")
        shown = JobOut.from_domain(job, links, card=CARDS.get(job.request.model))
        return shown.model_dump(mode="json")


def _encoded(delivery: Delivery, data: dict[str, Any]) -> bytes:
    said = {
        "type": delivery.event,
        "timestamp": delivery.created_at.isoformat().replace("+00:00", "Z"),
        "data": data,
    }
    return json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode()
