"""The parameters of a talking avatar, and the resolved request inside its job."""

from math import ceil
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from service.domain.artifact import CaptionFormat
from service.domain.media import MediaRef, Role
from service.domain.request import JobKind, JobOptions, JobRequest, MediaText
from service.domain.speech import LONGEST, SHORTEST, speaking_seconds
from service.domain.text import Label, Prompt, _not_blank, _storable

MAX_TEXT = 10_000  # characters, of the words of a recording: about ten minutes of speech
FPS = 25  # of all avatars
SPEECH_RATE = 16_000  # samples a second of a voice, as models hear it
MIN_AUDIO_SECONDS, MAX_AUDIO_SECONDS = 0.5, 600.0

_USUAL_SECONDS = 20.0  # of audio whose length is not known


class CaptionSettings(BaseModel):
    """Captions of what is spoken: a file beside the video, and drawn into it with `burn_in`."""

    # Inside a job: rows of an older or newer release are read too.
    model_config = ConfigDict(frozen=True)

    format: CaptionFormat = Field(
        default="vtt", description="`json` is Remotion's `Caption[]`, a word each."
    )
    burn_in: bool = Field(default=False, description="Draw them into the video, too.")


class Captions(CaptionSettings):
    """Captions of what is spoken: a file beside the video, and drawn into it with `burn_in`."""

    model_config = ConfigDict(extra="forbid", strict=True)


class AvatarOptions(JobOptions):
    """All parameters of an avatar, each optional: those of a retry."""

    kind: ClassVar[JobKind] = "avatar"

    text: (
        Annotated[
            str,
            Field(min_length=1, max_length=MAX_TEXT),
            AfterValidator(_storable),
            AfterValidator(_not_blank),
        ]
        | None
    ) = Field(
        default=None,
        description="Spoken by `voice`; beside `audio`, what is heard in it, for captions.",
    )
    voice: Label | None = Field(
        default=None, description="One of `GET /v1/voices`. Default: the offline voice."
    )
    speed: Annotated[float, Field(gt=0, le=4, allow_inf_nan=False)] | None = Field(
        default=None,
        description="Of `voice`, which has a range of its own; 1, the default, is its usual pace.",
    )
    audio: MediaText | None = Field(
        default=None,
        description="The voice, instead of `text`: base64, a `data:` URI, an https URL, the id of "
        "a job of yours with sound, or a part of a multipart form; the sound of a video counts.",
    )
    reference_image: MediaText | None = Field(
        default=None, description="A photo of the one face that is to speak; given like `audio`."
    )
    avatar: Label | None = Field(
        default=None,
        description="One of `GET /v1/avatars`, instead of `reference_image`; its own voice speaks "
        "`text` where `voice` is left out.",
    )
    prompt: Prompt | None = Field(
        default=None,
        description="Who is seen and how they act; ignored by models that only animate the photo.",
    )
    duration_seconds: Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)] | None = Field(
        default=None,
        description="Cut the video to this length. Default: as long as what is spoken, which it "
        "may not exceed.",
    )
    resolution: Literal["480p", "512p", "720p"] | None = Field(
        default=None,
        description="Instead of `width` and `height`: a square video, or of a model with several "
        "sizes of this name the one nearest to the shape of the photo.",
    )
    captions: Captions | None = None

    @property
    def media_texts(self) -> dict[Role, str]:
        texts = {"audio": self.audio, "reference_image": self.reference_image}
        return {role: text for role, text in texts.items() if text is not None}

    @model_validator(mode="after")
    def _check_size(self) -> Self:
        if self.resolution is not None and (self.width is not None or self.height is not None):
            raise ValueError("give `resolution`, or `width` and `height`, not both")
        return self


class AvatarParams(AvatarOptions):
    """The body of `POST /generate-avatar`: `text` or `audio`, and a `reference_image` where the
    model needs one."""

    @model_validator(mode="after")
    def _needs_words(self) -> Self:
        if self.text is None and self.audio is None:
            raise ValueError("give `text` or `audio`")
        return self


class AvatarRequest(JobRequest):
    """The resolved request for an avatar. `num_frames` is set where `duration_seconds` was."""

    kind: Literal["avatar"] = "avatar"
    text: str | None = None
    voice: str | None = None  # with a text; None: the first of the service
    speed: float = 1.0
    audio: MediaRef | None = None
    reference_image: MediaRef | None = None
    captions: CaptionSettings | None = None

    @property
    def expected_frames(self) -> int:
        if self.num_frames is not None:
            return self.num_frames
        if self.audio is not None:
            seconds = self.audio.seconds or _USUAL_SECONDS
        else:
            seconds = speaking_seconds(self.text or "") / self.speed
        return max(1, ceil(seconds * self.fps - 1e-6))

    @property
    def seconds_range(self) -> tuple[float, float] | None:
        """Return what the length is most likely between, where nothing tells it yet."""
        if self.num_frames is not None:
            return None
        if self.audio is None:
            seconds = speaking_seconds(self.text or "") / self.speed
            return SHORTEST * seconds, min(LONGEST * seconds, MAX_AUDIO_SECONDS)
        return None if self.audio.seconds else (MIN_AUDIO_SECONDS, MAX_AUDIO_SECONDS)

    @property
    def needs_speech(self) -> bool:
        return self.audio is None

    @property
    def media(self) -> dict[Role, MediaRef]:
        refs = {"audio": self.audio, "reference_image": self.reference_image}
        return {role: ref for role, ref in refs.items() if ref is not None}
