"""One numbered attempt at a job: the worker's ticket, its reports and its outcome; and the store of
artifacts, in which a job's input and output files lie."""

import hashlib
import os
import re
import secrets
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from service.domain.artifact import ARTIFACT_RULES, Variant
from service.domain.ids import JobId
from service.domain.kinds import AnyRequest
from service.domain.media import Role
from service.domain.models.card import ModelCard
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


class Profile(StrEnum):
    """The memory profile in which an attempt runs its model."""

    FULL = "full"  # all parts loaded, if the card says that they fit
    SMALL = "small"  # each part loaded only while it works, tiled decoding: after an `oom`


class Stage(StrEnum):
    """A worker's present step."""

    PREPROCESS = "preprocess"
    LOAD = "load"
    GENERATE = "generate"
    DECODE = "decode"
    ENCODE = "encode"
    UPLOAD = "upload"


class FailureKind(StrEnum):
    """The cause of a failure, by who must act on it. It decides about retries (domain/retry.py)."""

    USER = "user"  # the request itself: never again
    TRANSIENT = "transient"  # the same attempt may work later
    OOM = "oom"  # does not fit this GPU
    TIMEOUT = "timeout"  # ran past its deadline
    CANCELED = "canceled"  # the worker stopped on request
    LOST = "lost"  # the worker stopped reporting; never reported by a worker
    INTERNAL = "internal"  # our fault
    MACHINE = "machine"  # the worker's machine cannot do its part: disk, memory, ffmpeg


class AttemptFailed(Exception):
    """Raised to end an attempt without a video. `code` is stable, `message` is for the job's owner;
    `of_model` as in Failure."""

    def __init__(
        self, kind: FailureKind, code: str, message: str, *, of_model: bool | None = None
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.code = code
        self.message = message
        self.of_model = of_model


class WorkerStopping(Exception):
    """Raised when the worker is to stop: it gives its attempt back, which is no failure."""


class Ticket(BaseModel):
    """All that a worker needs for one attempt; `token` authorizes its reports."""

    model_config = ConfigDict(frozen=True)

    job_id: str
    attempt: int
    fence: int
    token: str
    request: AnyRequest
    card: ModelCard
    profile: Profile = Profile.FULL
    api_url: str
    traceparent: str | None = None

    @property
    def attempt_id(self) -> str:
        return f"{self.job_id}.{self.attempt}"


class Progress(BaseModel):
    """Progress of an attempt. `fraction` is of the whole attempt, 0 to 1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: Stage
    fraction: float = Field(ge=0, le=1, allow_inf_nan=False)
    detail: Annotated[Text, Field(max_length=200)] | None = None


class LipSync(BaseModel):
    """A measure of how well the mouth of the finished video moves with its sound. Experimental.

    `score` is 0 to 1, None where it cannot be told, with the `reason`. `offset_ms` is how much
    later the sound is than the mouth. By the method `envelope`, `r` is their correlation at this
    offset, -1 to 1; by `syncnet`, `lse_c` and `lse_d` are SyncNet's confidence and distance.
    """

    model_config = ConfigDict(frozen=True)

    score: float | None
    method: str
    reason: str | None = None
    offset_ms: int | None = None
    r: float | None = None
    face_coverage: float | None = None
    lse_c: float | None = None
    lse_d: float | None = None


class LoopSeam(BaseModel):
    """A measure of how visible the repeat of a loop is, in levels of 0 to 255.

    `difference` is the mean difference of the last frame from the first. `neighbours` is that of
    the steps beside it: from the first frame to the second, and from the last but one to the last.
    """

    model_config = ConfigDict(frozen=True)

    difference: float = Field(ge=0, le=255)
    neighbours: float = Field(ge=0, le=255)


ShortText = Annotated[Text, Field(max_length=100)]


class VideoFacts(BaseModel):
    """Properties of a finished video, against which its file was checked."""

    model_config = ConfigDict(frozen=True)

    artifacts: dict[Variant, Artifact]
    width: int = Field(gt=0)
    height: int = Field(gt=0)
    fps: int = Field(gt=0)
    num_frames: int = Field(gt=0)
    has_audio: bool = False
    sandbox: bool = False
    lip_sync: LipSync | None = None  # of an avatar
    warnings: tuple[str, ...] = ()  # of what may look worse than it could
    # Per seam of a video made in segments: the mean difference of the overlapping frames before
    # they were blended, in levels of 0 to 255.
    seams: tuple[float, ...] = ()
    loop_seam: LoopSeam | None = None  # of a loop
    # Settings of the model, by which two videos of one seed may differ.
    made_with: dict[ShortText, ShortText] = Field(default_factory=dict, max_length=16)

    @model_validator(mode="before")
    @classmethod
    def _collect_artifacts(cls, values: Any) -> Any:
        """Read the form of earlier releases, with a field for each artifact."""
        if not isinstance(values, dict) or "artifacts" in values:
            return values
        artifacts = {name: values[name] for name in ARTIFACT_RULES if name in values}
        others = {name: value for name, value in values.items() if name not in artifacts}
        return {**others, "artifacts": artifacts}

    @field_validator("artifacts")
    @classmethod
    def _has_required(cls, artifacts: dict[Variant, Artifact]) -> dict[Variant, Artifact]:
        required = [name for name, rule in ARTIFACT_RULES.items() if rule.is_required]
        missing = [name for name in required if name not in artifacts]
        if missing:
            raise ValueError(f"no {' and no '.join(missing)}")
        return artifacts

    @property
    def video(self) -> Artifact:
        return self.artifacts["video"]

    @property
    def duration_seconds(self) -> float:
        return self.num_frames / self.fps


class Outcome(BaseModel):
    """A finished attempt, as in its manifest and in the report `finish`."""

    model_config = ConfigDict(frozen=True)

    facts: VideoFacts
    timings_ms: dict[str, int] = Field(max_length=16)
    gpu: Annotated[Text, Field(max_length=64)] | None = None
    gpu_seconds: float = Field(default=0.0, ge=0, le=1e7, allow_inf_nan=False)


class Failure(BaseModel):
    """A failed attempt, as the worker reports it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: FailureKind
    code: Annotated[Text, Field(max_length=64)]
    message: Annotated[Text, Field(max_length=2000)]
    stage: Stage | None = None
    # Whether another model may succeed; None: as usual for the kind.
    of_model: bool | None = None
    # The GPU time; without it the time since begin is charged.
    gpu: Annotated[Text, Field(max_length=64)] | None = None
    gpu_seconds: float | None = Field(default=None, ge=0, le=1e7, allow_inf_nan=False)
    timings_ms: dict[Stage, int] = {}  # of the stages until it failed
