"""Ids in a path."""

from typing import Annotated

from fastapi import Path

from service.domain import ids
from service.domain.errors import NotFound
from service.domain.job import JobId

JobPath = Annotated[str, Path(description="A job's id.", examples=["job_06hm3c…"])]


def job_id_of(text: str) -> JobId:
    """A text that cannot be a job's id names a job that does not exist: NotFound."""
    if not ids.is_id("job", text):
        raise NotFound(f"no job {text[:64]}")
    return JobId(text)
