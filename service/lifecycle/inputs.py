"""Inputs of a job: stored before the job is inserted, deleted with its video."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from service.domain.attempt import ArtifactStore, input_folder, input_key
from service.domain.errors import FieldError, RequestRefused
from service.domain.ids import JobId
from service.domain.media import MediaRef, Role


@dataclass(frozen=True)
class StoredInput:
    """Bytes that are already stored under this key."""

    key: str


@dataclass(frozen=True)
class Input:
    """An input and its bytes: an uploaded file, or stored ones to copy.

    Those of a URL are fetched later, by the worker.
    """

    ref: MediaRef
    bytes_at: Path | StoredInput | None = None


def store_inputs(artifacts: ArtifactStore, job_id: JobId, inputs: Mapping[Role, Input]) -> None:
    """Store a job's inputs durably. Raises RequestRefused if bytes to copy no longer exist, and the
    store's errors; then nothing is kept."""
    try:
        for role, each in inputs.items():
            key = input_key(job_id, role)
            if isinstance(each.bytes_at, Path):
                media_type = each.ref.media_type or "application/octet-stream"
                artifacts.put(key, each.bytes_at, media_type)
            elif each.bytes_at is not None and not artifacts.copy(each.bytes_at.key, key):
                raise _source_deleted(role, each.ref)
    except BaseException:
        delete_inputs(artifacts, job_id)
        raise


def delete_inputs(artifacts: ArtifactStore, job_id: JobId) -> None:
    """Delete a job's inputs. After a crash the retention collects them instead."""
    artifacts.delete(input_folder(job_id))


def _source_deleted(role: Role, ref: MediaRef) -> RequestRefused:
    what = "the upload of that job"
    if ref.job_id is not None or ref.avatar_id is not None:
        what = f"the video of job {ref.job_id}" if ref.job_id else f"the avatar {ref.avatar_id}"
    detail = f"{what} has been deleted; send the {role} itself"
    return RequestRefused([FieldError(f"/{role}", detail, "gone")])
