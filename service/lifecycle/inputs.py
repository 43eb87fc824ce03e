"""Inputs of a job: stored before the job is inserted, deleted with its video."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from service.domain.artifact import input_folder, input_key
from service.domain.errors import FieldError, RequestRefused
from service.domain.ids import JobId
from service.domain.media import MediaRef, Role
from service.domain.ports import ArtifactStore


@dataclass(frozen=True)
class StoredInput:
    """Bytes that are already stored under this key."""

    key: str


Origin = Path | StoredInput  # an uploaded file, or stored bytes to copy


def store_inputs(
    artifacts: ArtifactStore,
    job_id: JobId,
    media: Mapping[Role, MediaRef],
    origins: Mapping[Role, Origin],
) -> None:
    """Store a job's inputs durably. Raises RequestRefused if bytes to copy no longer exist, and the
    store's errors; then nothing is kept."""
    try:
        for role, origin in origins.items():
            key = input_key(job_id, role)
            if isinstance(origin, Path):
                artifacts.put(key, origin, media[role].media_type or "application/octet-stream")
            elif not artifacts.copy(origin.key, key):
                raise _source_deleted(role, media[role])
    except BaseException:
        delete_inputs(artifacts, job_id)
        raise


def delete_inputs(artifacts: ArtifactStore, job_id: JobId) -> None:
    """Delete a job's inputs. After a crash the retention collects them instead."""
    artifacts.delete(input_folder(job_id))


def _source_deleted(role: Role, ref: MediaRef) -> RequestRefused:
    what = "the upload of that job" if ref.job_id is None else f"the video of job {ref.job_id}"
    detail = f"{what} has been deleted; send the {role} itself"
    return RequestRefused([FieldError(f"/{role}", detail, "gone")])
