"""`rushes avatar`: from a face and a text, or a voice, to a file."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from typer import Option

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
from service.domain.artifact import CaptionFormat


@dataclass(frozen=True)
class AvatarOptions:
    """Flags of an avatar, named like the API's fields."""

    text: Annotated[str | None, Option(help="Text to speak.")] = None
    voice: Annotated[str | None, Option(help="Voice of --text, one of `rushes voices`.")] = None
    audio: Annotated[
        str | None, Option(metavar="FILE|URL|JOB", help="Voice, instead of --text.")
    ] = None
    reference_image: Annotated[
        str | None, Option("--image", metavar="FILE|URL|JOB", help="Photo of one face.")
    ] = None
    avatar: Annotated[
        str | None, Option(metavar="ID", help="One of `rushes avatars`, instead of --image.")
    ] = None
    speed: Annotated[
        float | None, Option(help="Of the voice; 1, the default, is its usual pace.")
    ] = None
    prompt: Annotated[
        str | None, Option(help="Who is seen and how they act, for models that generate it.")
    ] = None
    model: Annotated[str | None, Option(help="See `rushes models`.")] = None
    duration_seconds: Annotated[
        float | None, Option("--seconds", help="Cut the video to this length.")
    ] = None
    resolution: Annotated[
        Literal["480p", "512p", "720p"] | None, Option(help="Instead of --width and --height.")
    ] = None
    width: Annotated[int | None, Option(help="Pixels.")] = None
    height: Annotated[int | None, Option(help="Pixels.")] = None
    seed: Annotated[int | None, Option(help="The same seed gives the same motion.")] = None
    captions: Annotated[CaptionFormat | None, Option(help="Save captions beside the video.")] = None
    burn_in: Annotated[bool, Option("--burn-in", help="Draw captions into the video.")] = False
    priority: Priority = None
    timeout_seconds: Timeout = None
    metadata: Metadata = None

    def files(self) -> dict[str, Path]:
        """Return the media that are local files. Raises BadParameter for a missing one."""
        flags = {"audio": "audio", "reference_image": "image"}
        refs = {name: getattr(self, name) for name in flags}
        return {
            name: file_of(text, flags[name])
            for name, text in refs.items()
            if text and is_path(text)
        }

    def body(self) -> dict[str, Any]:
        """Return the other fields, as the API takes them."""
        uploads = self.files()
        body = {k: v for k, v in asdict(self).items() if v not in (None, []) and k not in uploads}
        if "metadata" in body:
            body["metadata"] = dict(map(pair_of, body["metadata"]))
        is_drawn = body.pop("burn_in")
        if self.captions is not None or is_drawn:
            body["captions"] = {"format": self.captions or "vtt", "burn_in": is_drawn}
        return body


@flatten_flags
def avatar(
    to: Output,
    options: AvatarOptions,
    *,
    sending: Sending,
    connection: Connection,
) -> None:
    """Create a talking avatar: submit, watch, download."""
    request = Request(
        "/generate-avatar",
        options.body(),
        options.files(),
        flags_of(AvatarOptions),
        options.captions,
    )
    submit(request, to, sending, connection)
