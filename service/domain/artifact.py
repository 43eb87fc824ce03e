"""Artifacts: a job's input and output files, the keys under which they are stored, and where."""

import hashlib
import os
import re
import secrets
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field

from service.domain.ids import JobId
from service.domain.media import Role
from service.domain.text import Text

_SALT = re.compile(r"[0-9a-f]{8}")


def job_folder(job_id: JobId) -> str:
    """Return the prefix of everything that attempts at a job store."""
    return f"jobs/{job_id}"


def input_folder(job_id: JobId) -> str:
    """Return the prefix of a job's inputs."""
    return f"inputs/{job_id}"


def input_key(job_id: JobId, role: Role) -> str:
    return f"{input_folder(job_id)}/{role}"


def speech_keys(job_id: JobId) -> tuple[str, str]:
    """Return the keys of the sound and of the facts of what was spoken for a job."""
    return f"{input_folder(job_id)}/speech.wav", f"{input_folder(job_id)}/speech.json"


def artifact_prefix(job_id: JobId, fence: int | str) -> str:
    return f"{job_folder(job_id)}/{fence}"


def new_salt() -> str:
    return secrets.token_hex(4)


def is_salted(prefix: str, job_id: JobId, fence: int) -> bool:
    """Tell whether this is a folder of an attempt at the job with that fence and any salt."""
    salt = prefix.removeprefix(f"{artifact_prefix(job_id, fence)}-")
    return _SALT.fullmatch(salt) is not None


def lone_prefix(job_id: JobId, fence: int, call_id: str) -> str:
    """Return the prefix for a call that could not reach the service to begin, apart from those of
    other containers with the same ticket."""
    return f"{artifact_prefix(job_id, fence)}-{call_id[-12:]}"


def lone_fence(name: str, call_id: str) -> int | None:
    """Return the fence in a folder name of `lone_prefix` for this call; None for other names."""
    fence, _, suffix = name.partition("-")
    return int(fence) if suffix == call_id[-12:] and fence.isdecimal() else None


def attempt_folder(key: str) -> str:
    """Return the name of the attempt's folder, directly below its job's, in a key."""
    return key.split("/")[2]


CaptionFormat = Literal["vtt", "srt", "json"]
# The files of a finished job.
Variant = Literal["video", "thumbnail", "last_frame", "captions"]


@dataclass(frozen=True)
class ArtifactRule:
    """A variant's file name and media type; whether every finished job has one."""

    file: str
    media_type: str
    is_required: bool = True


ARTIFACT_RULES: dict[Variant, ArtifactRule] = {
    "video": ArtifactRule("video.mp4", "video/mp4"),
    "thumbnail": ArtifactRule("thumbnail.jpg", "image/jpeg"),
    "last_frame": ArtifactRule("last_frame.png", "image/png"),
    "captions": ArtifactRule("captions.vtt", "text/vtt", is_required=False),
}
# The files of captions, by the format that was requested.
CAPTION_RULES: dict[CaptionFormat, ArtifactRule] = {
    "vtt": ARTIFACT_RULES["captions"],
    "srt": ArtifactRule("captions.srt", "application/x-subrip", is_required=False),
    "json": ArtifactRule("captions.json", "application/json", is_required=False),
}


class Artifact(BaseModel):
    """Finished bytes: their key, type, size and SHA-256 (hex)."""

    model_config = ConfigDict(frozen=True)

    key: Annotated[Text, Field(max_length=300)]
    media_type: Annotated[Text, Field(max_length=64)]
    size_bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @classmethod
    def of_file(cls, key: str, path: Path, media_type: str) -> Self:
        """Describe the bytes of a file."""
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            size_bytes = os.fstat(file.fileno()).st_size
        return cls(key=key, media_type=media_type, size_bytes=size_bytes, sha256=sha256)


ReadMethod = Literal["GET", "HEAD"]


class ArtifactStore(Protocol):
    """Stores outputs under keys such as `jobs/<job>/<fence>-<salt>/video.mp4`, and inputs under
    `inputs/<job>/image`.

    Keys are built from ids, never from user input. Attempts do not overwrite each other's keys,
    which contain their folder. A remote store raises Unavailable from every method but `link` when
    it cannot be reached.
    """

    def put(self, key: str, source: Path, media_type: str) -> Artifact:
        """Move the file at `source` into the store, durably."""
        ...

    def copy(self, key: str, target: str) -> bool:
        """Copy `key` to `target`, durably; False if `key` does not exist."""
        ...

    def path(self, key: str) -> Path | None:
        """Return a local file with the bytes, downloaded if need be; None if there are none."""
        ...

    def link(
        self, key: str, *, filename: str, lifetime: timedelta, method: ReadMethod = "GET"
    ) -> str | None:
        """Return a presigned URL, or None if the store has none. The key may not exist."""
        ...

    def children(self, prefix: str) -> list[str]:
        """List the names directly below `prefix`, sorted."""
        ...

    def delete(self, prefix: str) -> None:
        """Delete every key below `prefix`, if any."""
        ...


# The folder, in an attempt's, of the finished segments of a long video.
SEGMENTS = "segments"


# The outcome beside the bytes, written last: where it exists, the attempt has finished.
MANIFEST = "manifest.json"


# Written first by a worker that cannot reach the service.
BEGUN_SIGN = "begun.txt"
