"""Pictures and films that a request brings along: what is known of each, never its bytes."""

from collections.abc import Iterable
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

# Where in an ask a picture or film is named: `image`, `last_image`, `video`, `keyframes/0/image`, …
Role: TypeAlias = str
Fit = Literal["crop", "pad"]
# What a model can do; `continuation`: begin with the last frames of a clip before.
Feature = Literal[
    "text-to-video", "image-to-video", "last-image", "keyframes", "video-to-video", "continuation"
]

# The fields of an ask that name some, each with the feature that follows it.
NEEDS: dict[str, Feature] = {
    "image": "image-to-video",
    "last_image": "last-image",
    "keyframes": "keyframes",
    "video": "video-to-video",
}
MAX_KEYFRAMES = 4
MAX_PIXELS = 24_000_000  # of a picture; a telephone's largest common one has 12 million


class MediaRef(BaseModel):
    """Where a picture or film came from, and what is known of it.

    Of an upload and of a job's clip the service keeps a copy for as long as the job's own clips.
    A URL is fetched by the worker, so that nothing is known of what it leads to.
    """

    model_config = ConfigDict(frozen=True)

    source: Literal["upload", "url", "job"]
    url: str | None = None
    job_id: str | None = None  # whose clip it is
    media_type: str | None = None
    size_bytes: int | None = None
    sha256: str | None = None
    width: int | None = None  # upright
    height: int | None = None
    fps: int | None = None
    num_frames: int | None = None


def kept_bytes(media: Iterable[MediaRef]) -> int:
    """How much the service keeps of these; what a URL leads to is not kept."""
    return sum(ref.size_bytes or 0 for ref in media if ref.source != "url")


def field_of(role: Role) -> str:
    """The field of an ask in which it is named."""
    return role.partition("/")[0]


def keyframe_role(number: int) -> Role:
    """Of the keyframe with this number, from 0."""
    return f"keyframes/{number}/image"
