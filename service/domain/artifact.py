"""Artifacts: files that a job was given or made, and the keys under which they are stored."""

import re
import secrets
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from service.domain.ids import JobId
from service.domain.media import Role
from service.domain.text import Text

_SALT = re.compile(r"[0-9a-f]{8}")


def job_folder(job_id: JobId) -> str:
    """The prefix of everything that attempts at a job have kept."""
    return f"jobs/{job_id}"


def input_folder(job_id: JobId) -> str:
    """The prefix of the pictures and films that a job was given."""
    return f"inputs/{job_id}"


def input_key(job_id: JobId, role: Role) -> str:
    return f"{input_folder(job_id)}/{role}"


def artifact_prefix(job_id: JobId, fence: int | str) -> str:
    return f"{job_folder(job_id)}/{fence}"


def new_salt() -> str:
    return secrets.token_hex(4)


def is_salted(prefix: str, job_id: JobId, fence: int) -> bool:
    """Tell whether this is a folder of an attempt at the job with that fence and any salt."""
    salt = prefix.removeprefix(f"{artifact_prefix(job_id, fence)}-")
    return _SALT.fullmatch(salt) is not None


def lone_prefix(job_id: JobId, fence: int, call_id: str) -> str:
    """Where a call keeps its bytes that could not reach the service to begin: the bytes of
    another container with the same ticket must not meet them."""
    return f"{artifact_prefix(job_id, fence)}-{call_id[-12:]}"


def lone_fence(name: str, call_id: str) -> int | None:
    """The fence in the name of a folder that `lone_prefix` made for this call; None for others."""
    fence, _, whose = name.partition("-")
    return int(fence) if whose == call_id[-12:] and fence.isdecimal() else None


def attempt_folder(key: str) -> str:
    """The name of the folder, directly below its job's, in which these bytes of an attempt lie."""
    return key.split("/")[2]


class Artifact(BaseModel):
    """Finished bytes: their key, type, size and SHA-256 (hex)."""

    model_config = ConfigDict(frozen=True)

    key: Annotated[Text, Field(max_length=300)]
    media_type: Annotated[Text, Field(max_length=64)]
    size_bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


# Below an attempt's bytes: the finished segments of a long video.
SEGMENTS = "segments"


# The outcome beside the bytes, written last: where it is, the attempt was finished.
MANIFEST = "manifest.json"


# What a worker that cannot reach the service puts there first.
BEGUN_SIGN = "begun.txt"
