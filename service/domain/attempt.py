"""One numbered attempt at a job: the worker's ticket, its reports and its outcome."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from service.domain.artifact import ARTIFACT_RULES, Artifact, Variant
from service.domain.avatar import AnyRequest
from service.domain.models.card import ModelCard
from service.domain.text import Text


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
    later the sound is than the mouth; `r` is their correlation at this offset, -1 to 1.
    """

    model_config = ConfigDict(frozen=True)

    score: float | None
    method: str
    reason: str | None = None
    offset_ms: int | None = None
    r: float | None = None
    face_coverage: float | None = None


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
