"""Ids in a path."""

from typing import Annotated

from fastapi import Path

from service.domain import ids
from service.domain.errors import NotFound
from service.domain.ids import JobId
from service.domain.webhook import DeliveryId, EndpointId

JobPath = Annotated[str, Path(description="A job's id.", examples=["job_06hm3c…"])]


def job_id_of(text: str) -> JobId:
    """A text that cannot be a job's id names a job that does not exist: NotFound."""
    if not ids.is_id("job", text):
        raise NotFound(f"no job {text[:64]}")
    return JobId(text)


def endpoint_id_of(text: str) -> EndpointId:
    """The same for a webhook endpoint's."""
    if not ids.is_id("wep", text):
        raise NotFound(f"no webhook endpoint {text[:64]}")
    return EndpointId(text)


def delivery_id_of(text: str) -> DeliveryId:
    """The same for a delivery's."""
    if not ids.is_id("msg", text):
        raise NotFound(f"no webhook delivery {text[:64]}")
    return DeliveryId(text)
