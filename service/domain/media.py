"""Input images and videos of a request: references and metadata, not their bytes."""

from collections.abc import Iterable
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

# The field of an input: `image`, `last_image`, `video`, `keyframes/0/image`, …
Role: TypeAlias = str
Fit = Literal["crop", "pad"]
# Abilities of a model; `continuation`: begin with the last frames of the clip before.
Feature = Literal[
    "text-to-video", "image-to-video", "last-image", "keyframes", "video-to-video", "continuation"
]

# The fields of inputs, each with the feature that it needs.
NEEDS: dict[str, Feature] = {
    "image": "image-to-video",
    "last_image": "last-image",
    "keyframes": "keyframes",
    "video": "video-to-video",
}
MAX_KEYFRAMES = 4
MAX_PIXELS = 24_000_000  # of an image; phones commonly take up to 12 million


class MediaRef(BaseModel):
    """The source of an input image or video, and its known properties.

    Of an upload and of another job's video the service stores a copy for as long as the job's own
    video. A URL is fetched by the worker, so its content is not known.
    """

    model_config = ConfigDict(frozen=True)

    source: Literal["upload", "url", "job"]
    url: str | None = None
    job_id: str | None = None  # whose video it is
    media_type: str | None = None
    size_bytes: int | None = None
    sha256: str | None = None
    width: int | None = None  # upright
    height: int | None = None
    fps: int | None = None
    num_frames: int | None = None


def kept_bytes(media: Iterable[MediaRef]) -> int:
    """Sum the bytes that the service stores of these; content of URLs is not stored."""
    return sum(ref.size_bytes or 0 for ref in media if ref.source != "url")


def field_of(role: Role) -> str:
    """Return the request field of a role."""
    return role.partition("/")[0]


def keyframe_role(number: int) -> Role:
    """Return the role of a keyframe by its number, from 0."""
    return f"keyframes/{number}/image"
