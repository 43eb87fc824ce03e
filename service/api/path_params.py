"""Parse ids in paths."""

from typing import Annotated

from fastapi import Path

from service.domain import ids
from service.domain.errors import NotFound
from service.domain.ids import JobId
from service.domain.webhook import DeliveryId, EndpointId

JobPath = Annotated[str, Path(description="A job's id.", examples=["job_06hm3c…"])]


def job_id_of(text: str) -> JobId:
    """Parse a job id. Raises NotFound for a malformed one, like for an unknown one."""
    if not ids.is_id("job", text):
        raise NotFound(f"no job {text[:64]}")
    return JobId(text)


def endpoint_id_of(text: str) -> EndpointId:
    """Parse a webhook endpoint's id. Raises NotFound for a malformed one."""
    if not ids.is_id("wep", text):
        raise NotFound(f"no webhook endpoint {text[:64]}")
    return EndpointId(text)


def delivery_id_of(text: str) -> DeliveryId:
    """Parse a webhook delivery's id. Raises NotFound for a malformed one."""
    if not ids.is_id("msg", text):
        raise NotFound(f"no webhook delivery {text[:64]}")
    return DeliveryId(text)
