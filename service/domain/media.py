"""Pictures and films that a request brings along: what is known of each, never its bytes."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Role = Literal["image", "last_image", "video"]
Fit = Literal["crop", "pad"]
# What a model can do; `continuation`: begin with the last frames of a clip before.
Feature = Literal["text-to-video", "image-to-video", "last-image", "video-to-video", "continuation"]

NEEDS: dict[Role, Feature] = {
    "image": "image-to-video",
    "last_image": "last-image",
    "video": "video-to-video",
}
MOST_PIXELS = 24_000_000  # of a picture; a telephone's largest common one has 12 million


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
