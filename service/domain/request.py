"""The parameters of jobs and of their videos, and the resolved request inside a job."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from service.domain.event import EventKinds
from service.domain.media import MAX_KEYFRAMES, Fit, MediaRef, Role, keyframe_role
from service.domain.text import Label, MetadataLabel, Prompt, Value, _storable

JobKind = Literal["video", "avatar"]
Priority = Literal["low", "normal", "high"]
MAX_SEED = 2**32 - 1  # the largest that every generator (numpy, torch, JavaScript) takes exactly


def _whole(number: Any) -> Any:
    """Accept `24.0` as an integer, as JSON Schema does."""
    if isinstance(number, float) and number.is_integer():
        return int(number)
    return number


WHOLE = BeforeValidator(_whole)


# Base64 or a data URI, which api/body/parse.py writes to a file; else an https URL or a job's id,
# which runtime/submit.py tells apart.
MediaText = Annotated[str, Field(min_length=1), AfterValidator(_storable)]


class MediaBody(BaseModel):
    """A body that may have images, videos and recordings among its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    @property
    def media_texts(self) -> dict[Role, str]:
        """Return the texts of all inputs, by role."""
        return {}

    def with_media_texts(self, texts: Mapping[Role, str]) -> Self:
        """Return a copy with some of the inputs' texts replaced."""
        return self.model_copy(update=dict(texts))


class JobOptions(MediaBody):
    """The parameters of a job of any kind, each optional.

    `null` has the same effect as leaving a field out.
    """

    kind: ClassVar[JobKind]

    model: Label | None = Field(
        default=None,
        description="A name from `GET /v1/models`. Default: the service's own default, and where "
        "that cannot make the video those that its card names.",
    )
    models: Annotated[list[Label], Field(min_length=1, max_length=8)] | None = Field(
        default=None,
        description="Instead of `model`: several, the best first. Where one has not the memory or "
        "the weights, has no worker within `start_timeout_seconds`, or fails again and again, the "
        "next takes over. Each must support the request.",
    )
    width: Annotated[int, Field(ge=1, le=100_000), WHOLE] | None = Field(
        default=None, description="Pixels."
    )
    height: Annotated[int, Field(ge=1, le=100_000), WHOLE] | None = Field(
        default=None, description="Pixels."
    )
    seed: Annotated[int, Field(ge=0, le=MAX_SEED), WHOLE] | None = Field(
        default=None,
        description="Same seed, request and device: same frames. Default: a random one.",
    )
    priority: Priority | None = Field(
        default=None, description="Order within the queue. Default: normal."
    )
    timeout_seconds: Annotated[int, Field(ge=1, le=86_400), WHOLE] | None = Field(
        default=None, description="Fail an attempt that runs longer than this."
    )
    start_timeout_seconds: Annotated[int, Field(ge=1, le=604_800), WHOLE] | None = Field(
        default=None,
        description="How long to wait for a worker of each model; then the next takes over, and "
        "after the last the job expires.",
    )
    metadata: Annotated[dict[MetadataLabel, Value], Field(max_length=16)] | None = Field(
        default=None,
        description="Up to 16 labels (letters, digits, space, `_.:/@-`) with texts of your own.",
    )
    webhook_url: Annotated[str, Field(min_length=1, max_length=2048)] | None = Field(
        default=None, description="An https URL that receives the job's events as signed POSTs."
    )
    webhook_events: EventKinds | None = Field(
        default=None, description="Events to deliver to it. Default: the four final ones."
    )
    response_format: Literal["url", "b64_json"] | None = Field(
        default=None,
        description="`b64_json`: a wait that sees the job finish answers with the MP4 itself.",
    )

    @model_validator(mode="after")
    def _check_models(self) -> Self:
        if self.models is None:
            return self
        if self.model is not None:
            raise ValueError("give `model` or `models`, not both")
        if len(set(self.models)) < len(self.models):
            raise ValueError("`models` contains a model twice")
        return self

    @model_validator(mode="after")
    def _check_webhook(self) -> Self:
        if self.webhook_events is not None and self.webhook_url is None:
            raise ValueError("`webhook_events` needs a `webhook_url`")
        return self


class Keyframe(BaseModel):
    """An image, and the frame at which the video is to show it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    frame: Annotated[int, Field(ge=1, le=1_000_000), WHOLE] = Field(
        description="Counted from 0, the frame of `image`."
    )
    image: MediaText = Field(description="Given like `image`.")


class VideoOptions(JobOptions):
    """All parameters of a video, each optional.

    `null` has the same effect as leaving a field out.
    """

    kind: ClassVar[JobKind] = "video"

    prompt: Prompt | None = Field(
        default=None,
        description="What to show.",
        examples=["A serene mountain landscape with flowing water"],
    )
    prompts: Annotated[list[Prompt], Field(min_length=1, max_length=64)] | None = Field(
        default=None,
        description="What to show in each part of a long video, which is made in segments: in "
        "order, spread evenly over them. `prompt` is what they have in common.",
    )
    negative_prompt: Annotated[str, Field(max_length=4000), AfterValidator(_storable)] | None = (
        Field(
            default=None, description="What to avoid. Refused by models on which it has no effect."
        )
    )
    duration_seconds: Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)] | None = Field(
        default=None,
        description="Resolved to the model's nearest frame count; the answer says which.",
    )
    num_frames: Annotated[int, Field(ge=1, le=1_000_000), WHOLE] | None = Field(
        default=None, description="Instead of `duration_seconds`: an exact number of frames."
    )
    fps: Annotated[int, Field(ge=1, le=240), WHOLE] | None = Field(
        default=None, description="Frames per second."
    )
    num_inference_steps: Annotated[int, Field(ge=1, le=1000), WHOLE] | None = Field(
        default=None, description="Denoising steps."
    )
    guidance_scale: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | None = Field(
        default=None, description="How strongly the prompt steers."
    )
    image: MediaText | None = Field(
        default=None,
        description="An image that the video begins with: base64, a `data:` URI, an https URL, "
        "the id of a job of yours (then its last frame), or a part of a multipart form.",
    )
    last_image: MediaText | None = Field(
        default=None, description="An image that the video ends with; needs `image`."
    )
    loop: bool | None = Field(
        default=None,
        description="End with the first frame, so that the video can be repeated; needs `image`.",
    )
    keyframes: Annotated[list[Keyframe], Field(min_length=1, max_length=MAX_KEYFRAMES)] | None = (
        Field(
            default=None,
            description="Images that the video shows between its first and last frame.",
        )
    )
    video: MediaText | None = Field(
        default=None,
        description="A video to generate over; given like `image`, a job's id for its video.",
    )
    strength: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = Field(
        default=None,
        description="How far to go from `video`: 1 keeps nothing of it. Default: the model's.",
    )
    keep_audio: bool | None = Field(
        default=None,
        description="Keep the sound of `video`, cut to the length of the new one. Default: true.",
    )
    fit: Fit | None = Field(
        default=None,
        description="How images and videos of another aspect ratio are fitted: `crop` around "
        "the middle (default) or `pad` with black. They are never distorted.",
    )

    @property
    def media_texts(self) -> dict[Role, str]:
        """Return the texts of all inputs, by role."""
        texts = {"image": self.image, "last_image": self.last_image, "video": self.video}
        texts |= {keyframe_role(n): frame.image for n, frame in enumerate(self.keyframes or ())}
        return {role: text for role, text in texts.items() if text is not None}

    def with_media_texts(self, texts: Mapping[Role, str]) -> Self:
        """Return a copy with some of the inputs' texts replaced."""
        if not texts:
            return self
        changes: dict[str, Any] = {role: text for role, text in texts.items() if "/" not in role}
        if self.keyframes is not None:
            changes["keyframes"] = [
                frame.model_copy(update={"image": texts.get(keyframe_role(n), frame.image)})
                for n, frame in enumerate(self.keyframes)
            ]
        return self.model_copy(update=changes)

    @model_validator(mode="after")
    def _check_length(self) -> Self:
        if self.duration_seconds is not None and self.num_frames is not None:
            raise ValueError("give `duration_seconds` or `num_frames`, not both")
        return self


class VideoParams(VideoOptions):
    """The body of `POST /generate-video`. Only `prompt` is required.

    Fields left out are filled in from the model's card; values that a model cannot make are refused
    with the nearest possible one.
    """

    prompt: Prompt = Field(
        description="What to show.",
        examples=["A serene mountain landscape with flowing water"],
    )


class PlacedImage(BaseModel):
    """A keyframe inside a job."""

    model_config = ConfigDict(frozen=True)

    frame: int
    image: MediaRef


@dataclass(frozen=True)
class VideoShape:
    """A Shape by itself."""

    width: int
    height: int
    num_frames: int
    fps: int

    @property
    def duration_seconds(self) -> float:
        return self.num_frames / self.fps


class JobRequest(BaseModel):
    """The resolved request inside a job of any kind.

    `num_frames` is None for a video as long as its sound, which only the worker knows.
    """

    # Rows of an older or newer release are read too: unknown fields are ignored.
    model_config = ConfigDict(frozen=True)

    kind: JobKind
    model: str
    prompt: str
    width: int
    height: int
    num_frames: int | None
    fps: int
    seed: int
    num_inference_steps: int = 0

    @property
    def expected_frames(self) -> int:
        """Return `num_frames`, or about how many there will be."""
        assert self.num_frames is not None, "a kind without it estimates"
        return self.num_frames

    @property
    def seconds_range(self) -> tuple[float, float] | None:
        """Return what the length is most likely between; None where it is known."""
        return None

    @property
    def media(self) -> dict[Role, MediaRef]:
        """Return the inputs that are set, by role."""
        return {}

    @property
    def needs_speech(self) -> bool:
        """Tell whether a text is to be spoken before a worker can begin."""
        return False

    @property
    def shape(self) -> VideoShape:
        """Return the shape of the video, once its number of frames is known."""
        assert self.num_frames is not None, "known once the inputs were read"
        return VideoShape(self.width, self.height, self.num_frames, self.fps)

    @property
    def duration_seconds(self) -> float | None:
        """Return the length of the video; None where it is not known yet."""
        return None if self.num_frames is None else self.num_frames / self.fps


class VideoRequest(JobRequest):
    """The resolved request for a video: every field has a value."""

    kind: Literal["video"] = "video"
    model: str
    prompt: str
    prompts: list[str] | None = None  # of the segments of a long video
    negative_prompt: str | None = None
    width: int
    height: int
    num_frames: int
    fps: int
    num_inference_steps: int
    guidance_scale: float
    seed: int
    image: MediaRef | None = None
    last_image: MediaRef | None = None
    loop: bool = False  # whether `image` is the last frame too
    keyframes: list[PlacedImage] | None = None
    video: MediaRef | None = None
    strength: float | None = None  # only with a video
    keep_audio: bool | None = None  # only with a video
    fit: Fit | None = None  # only with inputs

    @property
    def media(self) -> dict[Role, MediaRef]:
        """Return the inputs that are set, by role."""
        refs = {"image": self.image, "last_image": self.last_image, "video": self.video}
        refs |= {keyframe_role(n): frame.image for n, frame in enumerate(self.keyframes or ())}
        return {role: ref for role, ref in refs.items() if ref is not None}

    @property
    def duration_seconds(self) -> float:
        return self.num_frames / self.fps
