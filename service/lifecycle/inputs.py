"""What a job begins with: kept before the job is, gone with its clips."""

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
    """Bytes that the service has under this key already."""

    key: str


Origin = Path | StoredInput  # a file that came in, or a copy of what is there


def keep(
    artifacts: ArtifactStore,
    job_id: JobId,
    media: Mapping[Role, MediaRef],
    origins: Mapping[Role, Origin],
) -> None:
    """Durable when it returns. Raises RequestRefused, and then nothing is kept, when the bytes to
    copy are gone; and what the store raises."""
    try:
        for role, origin in origins.items():
            key = input_key(job_id, role)
            if isinstance(origin, Path):
                artifacts.put(key, origin, media[role].media_type or "application/octet-stream")
            elif not artifacts.copy(origin.key, key):
                raise _gone(role, media[role])
    except BaseException:
        discard(artifacts, job_id)
        raise


def discard(artifacts: ArtifactStore, job_id: JobId) -> None:
    """What was kept for a job that there will not be. What a crash leaves behind instead, the
    retention collects."""
    artifacts.delete(input_folder(job_id))


def _gone(role: Role, ref: MediaRef) -> RequestRefused:
    what = "the upload of that job" if ref.job_id is None else f"the clip of job {ref.job_id}"
    detail = f"{what} is kept no longer; send the {role} itself"
    return RequestRefused([FieldError(f"/{role}", detail, "gone")])
