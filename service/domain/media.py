"""Input images, videos and recordings of a request: references and metadata, not their bytes."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

# The field of an input: `image`, `last_image`, `video`, `keyframes/0/image`, …
Role: TypeAlias = str
Fit = Literal["crop", "pad"]
# Abilities of a model; `continuation`: begin with the last frames of the clip before; `speech`: a
# face that speaks.
Feature = Literal[
    "text-to-video",
    "image-to-video",
    "last-image",
    "keyframes",
    "video-to-video",
    "continuation",
    "speech",
    "reference-image",
]

MediaKind = Literal["image", "video", "audio"]


@dataclass(frozen=True)
class MediaRule:
    """A field of inputs takes a file of this kind, for a model with this feature.

    The id of an earlier job stands for its `artifact`.
    """

    kind: MediaKind
    feature: Feature
    artifact: Literal["video", "last_frame"]


MEDIA_RULES: dict[str, MediaRule] = {
    "image": MediaRule("image", "image-to-video", "last_frame"),
    "last_image": MediaRule("image", "last-image", "last_frame"),
    "keyframes": MediaRule("image", "keyframes", "last_frame"),
    "video": MediaRule("video", "video-to-video", "video"),
    "audio": MediaRule("audio", "speech", "video"),
    "reference_image": MediaRule("image", "reference-image", "last_frame"),
}
MAX_KEYFRAMES = 4
MAX_PIXELS = 24_000_000  # of an image; phones commonly take up to 12 million


class MediaRef(BaseModel):
    """The source of an input, and its known properties.

    Of an upload, of another job's video and of an avatar's photo the service stores a copy for as
    long as the job's own video. A URL is fetched by the worker, so its content is not known.
    """

    model_config = ConfigDict(frozen=True)

    source: Literal["upload", "url", "job", "avatar"]
    url: str | None = None
    job_id: str | None = None  # whose video it is
    avatar_id: str | None = None  # whose photo it is
    media_type: str | None = None
    size_bytes: int | None = None
    sha256: str | None = None
    seconds: float | None = None  # of sound, as its header claims
    width: int | None = None  # upright
    height: int | None = None
    fps: int | None = None
    num_frames: int | None = None


def kept_bytes(media: Iterable[MediaRef]) -> int:
    """Sum the bytes that the service stores of these; content of URLs is not stored."""
    return sum(ref.size_bytes or 0 for ref in media if ref.source != "url")


def field_of(role: Role) -> str:
    """Return the request field that a role, or the name of its part in a form, belongs to."""
    return re.split(r"[/\[]", role, maxsplit=1)[0]


def rule_of(role: Role) -> MediaRule:
    return MEDIA_RULES[field_of(role)]


SAMPLES = "samples"  # the field of recordings of a voice, which are no inputs of a job
MAX_SAMPLE_BYTES = 10_000_000  # the provider's limit


def kind_of(role: Role) -> MediaKind:
    """Return the kind of files that a role takes."""
    return "audio" if field_of(role) == SAMPLES else rule_of(role).kind


def keyframe_role(number: int) -> Role:
    """Return the role of a keyframe by its number, from 0."""
    return f"keyframes/{number}/image"
