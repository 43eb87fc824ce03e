"""One numbered try at a job: what a worker is handed, what it says, and how it ends."""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from service.domain.artifact import Artifact
from service.domain.models.card import ModelCard
from service.domain.models.tuning import Profile
from service.domain.request import VideoRequest
from service.domain.text import Text


class Stage(StrEnum):
    """What a worker is doing."""

    PREPROCESS = "preprocess"
    LOAD = "load"
    GENERATE = "generate"
    DECODE = "decode"
    ENCODE = "encode"
    UPLOAD = "upload"


class FailureKind(StrEnum):
    """Who must act on a failure; above all else the retry policy hangs on it (domain/retry.py)."""

    USER = "user"  # the request itself: never again
    TRANSIENT = "transient"  # the same attempt may work later
    OOM = "oom"  # does not fit this GPU
    TIMEOUT = "timeout"  # ran past its deadline
    CANCELED = "canceled"  # the worker stopped because it was asked to
    LOST = "lost"  # the worker fell silent; never said by a worker
    INTERNAL = "internal"  # our fault
    MACHINE = "machine"  # the worker's machine cannot do its part: disk, memory, ffmpeg


class AttemptFailed(Exception):
    """An attempt ends without a video. `code` is stable, `message` is for the job's owner;
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
    """The worker was told to stop: it gives its attempt back, and that is nobody's failure."""


class Ticket(BaseModel):
    """All that a worker needs for one attempt; whoever holds `token` may report on it."""

    model_config = ConfigDict(frozen=True)

    job_id: str
    attempt: int
    fence: int
    token: str
    request: VideoRequest
    card: ModelCard
    profile: Profile = Profile.FULL
    api_url: str
    traceparent: str | None = None

    @property
    def attempt_id(self) -> str:
        return f"{self.job_id}.{self.attempt}"


class Progress(BaseModel):
    """Where an attempt stands. `fraction` counts the whole attempt, 0 to 1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: Stage
    fraction: float = Field(ge=0, le=1, allow_inf_nan=False)
    detail: Annotated[Text, Field(max_length=200)] | None = None


ShortText = Annotated[Text, Field(max_length=100)]


class VideoFacts(BaseModel):
    """What was made; the finished file was checked against it."""

    model_config = ConfigDict(frozen=True)

    video: Artifact
    thumbnail: Artifact
    last_frame: Artifact
    width: int = Field(gt=0)
    height: int = Field(gt=0)
    fps: int = Field(gt=0)
    num_frames: int = Field(gt=0)
    has_audio: bool = False
    sandbox: bool = False
    # Of a video that was made in segments: how far each was from the one before where they overlap,
    # before they were blended; the mean over all pixels, in levels of 0 to 255.
    seams: tuple[float, ...] = ()
    # How the model was run, in a few words each: two clips of one seed may differ by it.
    made_with: dict[ShortText, ShortText] = Field(default_factory=dict, max_length=16)

    @property
    def duration_seconds(self) -> float:
        return self.num_frames / self.fps


class Outcome(BaseModel):
    """A finished attempt; what its manifest holds and what `finish` reports."""

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
    # Whether another model may do better; None where that is as with most of its kind.
    of_model: bool | None = None
    # What it has cost; without it the time from begin to now is taken.
    gpu: Annotated[Text, Field(max_length=64)] | None = None
    gpu_seconds: float | None = Field(default=None, ge=0, le=1e7, allow_inf_nan=False)
