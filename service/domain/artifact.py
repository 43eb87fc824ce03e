"""The kinds of files that a finished job has: what each is called, and which every job has.

The command line imports it at each start, so it imports no pydantic.
"""

from dataclasses import dataclass
from typing import Literal

Variant = Literal["video", "thumbnail", "last_frame", "captions"]


@dataclass(frozen=True)
class ArtifactRule:
    """A variant's file name and media type; whether every finished job has one."""

    file: str
    media_type: str
    is_required: bool = True


ARTIFACT_RULES: dict[Variant, ArtifactRule] = {
    "video": ArtifactRule("video.mp4", "video/mp4"),
    "thumbnail": ArtifactRule("thumbnail.jpg", "image/jpeg"),
    "last_frame": ArtifactRule("last_frame.png", "image/png"),
    "captions": ArtifactRule("captions.vtt", "text/vtt", is_required=False),
}
CaptionFormat = Literal["vtt", "srt", "json"]
# The files of captions, by the format that was requested.
CAPTION_RULES: dict[CaptionFormat, ArtifactRule] = {
    "vtt": ARTIFACT_RULES["captions"],
    "srt": ArtifactRule("captions.srt", "application/x-subrip", is_required=False),
    "json": ArtifactRule("captions.json", "application/json", is_required=False),
}
