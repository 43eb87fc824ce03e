"""`rushes video`: from a prompt to a file."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer import Argument, Option

from service.cli.flags import (
    Connection,
    Metadata,
    Output,
    Priority,
    Sending,
    Timeout,
    flatten_flags,
)
from service.cli.submit import Request, submit
from service.cli.values import file_of, flags_of, is_path, pair_of


@dataclass(frozen=True)
class VideoOptions:
    """Flags of a submit, named like the API's fields; the model's card gives the defaults."""

    models: Annotated[
        list[str] | None,
        Option(
            "--model",
            metavar="NAME",
            help="See `rushes models`; may be repeated: the next is the fallback.",
        ),
    ] = None
    duration_seconds: Annotated[float | None, Option("--seconds", help="Length.")] = None
    num_frames: Annotated[int | None, Option("--frames", help="Instead of --seconds.")] = None
    fps: Annotated[int | None, Option(help="Frames per second.")] = None
    width: Annotated[int | None, Option(help="Pixels.")] = None
    height: Annotated[int | None, Option(help="Pixels.")] = None
    num_inference_steps: Annotated[int | None, Option("--steps", help="Denoising steps.")] = None
    guidance_scale: Annotated[
        float | None, Option("--guidance", help="How strongly the prompt steers.")
    ] = None
    negative_prompt: Annotated[str | None, Option("--negative", help="What to avoid.")] = None
    seed: Annotated[int | None, Option(help="The same seed gives the same video.")] = None
    image: Annotated[
        str | None, Option(metavar="FILE|URL|JOB", help="First image of the video.")
    ] = None
    last_image: Annotated[
        str | None, Option(metavar="FILE|URL|JOB", help="Last image of the video.")
    ] = None
    loop: Annotated[
        bool | None, Option("--loop", help="End with --image, so that the video can be repeated.")
    ] = None
    keyframes: Annotated[
        list[str] | None,
        Option(
            "--keyframe",
            metavar="FRAME=FILE|URL|JOB",
            help="Image at this frame, counted from 0; may be repeated.",
        ),
    ] = None
    video: Annotated[
        str | None, Option(metavar="FILE|URL|JOB", help="Source video for video-to-video.")
    ] = None
    strength: Annotated[
        float | None, Option(help="How far to depart from --video; 1 keeps nothing of it.")
    ] = None
    keep_audio: Annotated[
        bool | None,
        Option("--keep-audio/--no-keep-audio", help="Keep the sound of --video; the default."),
    ] = None
    fit: Annotated[
        Literal["crop", "pad"] | None,
        Option(help="How to fit images of another shape; default: crop."),
    ] = None
    priority: Priority = None
    timeout_seconds: Timeout = None
    start_timeout_seconds: Annotated[
        int | None,
        Option("--start-timeout", help="Seconds to wait for a worker of each model; no default."),
    ] = None
    metadata: Metadata = None

    def files(self) -> dict[str, Path]:
        """Return the media that are local files. Raises BadParameter for a missing one."""
        refs = {name: getattr(self, name) for name in ("image", "last_image", "video")}
        paths = {name: file_of(text, name) for name, text in refs.items() if text and is_path(text)}
        for number, (_, text) in enumerate(self._keyframes()):
            if is_path(text):
                paths[f"keyframes[{number}][image]"] = file_of(text, "keyframe")
        return paths

    def body(self) -> dict[str, Any]:
        """Return the other fields, as the API takes them."""
        uploads = self.files()
        body = {k: v for k, v in asdict(self).items() if v not in (None, []) and k not in uploads}
        if body.pop("keyframes", None):
            body |= self._keyframe_fields(uploads)
        if len(body.get("models", ())) == 1:
            (body["model"],) = body.pop("models")
        if "metadata" in body:
            body["metadata"] = dict(map(pair_of, body["metadata"]))
        return body

    def _keyframes(self) -> list[tuple[int, str]]:
        return [_keyframe(text) for text in self.keyframes or ()]

    def _keyframe_fields(self, uploads: Mapping[str, Path]) -> dict[str, Any]:
        """Return keyframes as JSON, or as form fields if one of them is a file."""
        if not any(name.startswith("keyframes[") for name in uploads):
            return {"keyframes": [{"frame": n, "image": text} for n, text in self._keyframes()]}
        fields: dict[str, Any] = {}
        for number, (frame, text) in enumerate(self._keyframes()):
            fields[f"keyframes[{number}][frame]"] = frame
            if f"keyframes[{number}][image]" not in uploads:
                fields[f"keyframes[{number}][image]"] = text
        return fields


def _keyframe(text: str) -> tuple[int, str]:
    frame, equals, rest = text.partition("=")
    if not (frame.isdecimal() and equals and rest):
        detail = f"{text!r} is not FRAME=FILE, such as 48=boat.png"
        raise typer.BadParameter(detail, param_hint="--keyframe")
    return int(frame), rest


@flatten_flags
def video(
    prompt: Annotated[str, Argument(metavar="PROMPT", help="What to show.")],
    to: Output,
    options: VideoOptions,
    *,
    sending: Sending,
    connection: Connection,
) -> None:
    """Create a video: submit, watch, download."""
    request = Request(
        "/generate-video",
        {"prompt": prompt, **options.body()},
        options.files(),
        flags_of(VideoOptions) | {"prompt": "PROMPT", "model": "--model"},
    )
    submit(request, to, sending, connection)
