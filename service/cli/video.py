"""`rushes video`: from a prompt to a file."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import typer
from typer import Argument, Option

from service.cli.flags import Connection, Output, spread
from service.domain.ids import is_id


@dataclass(frozen=True)
class Wanted:
    """The flags that say what to make, named as the API's fields are. What is left out, the
    service fills in from the model's card."""

    models: Annotated[
        list[str] | None,
        Option("--model", help="See `rushes models`; given again, the next takes over from it."),
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
    seed: Annotated[int | None, Option(help="The same seed makes the same video.")] = None
    image: Annotated[
        str | None, Option(metavar="FILE|URL|JOB", help="A picture to begin with.")
    ] = None
    last_image: Annotated[
        str | None, Option(metavar="FILE|URL|JOB", help="A picture to end with.")
    ] = None
    keyframes: Annotated[
        list[str] | None,
        Option(
            "--keyframe",
            metavar="FRAME=FILE|URL|JOB",
            help="A picture to show at this frame, counted from 0; may be repeated.",
        ),
    ] = None
    video: Annotated[
        str | None, Option(metavar="FILE|URL|JOB", help="A film to make the video over.")
    ] = None
    strength: Annotated[
        float | None, Option(help="How far to go from --video: 1 keeps nothing of it.")
    ] = None
    fit: Annotated[
        Literal["crop", "pad"] | None, Option(help="How pictures of another shape are fitted.")
    ] = None
    priority: Annotated[
        Literal["low", "normal", "high"] | None, Option(help="Order within the queue.")
    ] = None
    timeout_seconds: Annotated[
        int | None, Option("--timeout", help="Fail an attempt that runs for more seconds.")
    ] = None
    start_timeout_seconds: Annotated[
        int | None, Option("--start-timeout", help="How long to wait for a worker of each model.")
    ] = None
    metadata: Annotated[
        list[str] | None, Option(metavar="NAME=TEXT", help="Kept on the job; may be repeated.")
    ] = None

    def files(self) -> dict[str, Path]:
        """The pictures and films that are files here. Stops the command where there is no such."""
        given = {name: getattr(self, name) for name in ("image", "last_image", "video")}
        found = {name: _file(text, name) for name, text in given.items() if text and _local(text)}
        for number, (_, text) in enumerate(self._keyframes()):
            if _local(text):
                found[f"keyframes[{number}][image]"] = _file(text, "keyframe")
        return found

    def body(self) -> dict[str, Any]:
        """The rest, as the API takes it."""
        sent = self.files()
        given = {k: v for k, v in asdict(self).items() if v not in (None, []) and k not in sent}
        if given.pop("keyframes", None):
            given |= self._placed(sent)
        if len(given.get("models", ())) == 1:
            (given["model"],) = given.pop("models")
        if "metadata" in given:
            given["metadata"] = dict(map(_pair, given["metadata"]))
        return given

    def _keyframes(self) -> list[tuple[int, str]]:
        return [_keyframe(text) for text in self.keyframes or ()]

    def _placed(self, sent: Mapping[str, Path]) -> dict[str, Any]:
        """Beside files each is fields of a form."""
        if not any(name.startswith("keyframes[") for name in sent):
            return {"keyframes": [{"frame": n, "image": text} for n, text in self._keyframes()]}
        fields: dict[str, Any] = {}
        for number, (frame, text) in enumerate(self._keyframes()):
            fields[f"keyframes[{number}][frame]"] = frame
            if f"keyframes[{number}][image]" not in sent:
                fields[f"keyframes[{number}][image]"] = text
        return fields


def _flags() -> dict[str, str]:
    """By the API's names, as far as those are no ordinary words."""
    found = {}
    for name, kind in get_type_hints(Wanted, include_extras=True).items():
        if "_" in name:
            (option,) = kind.__metadata__
            # typer has the first of its positional arguments in `default`.
            told = [each for each in (option.default, *(option.param_decls or ())) if each != ...]
            found[name] = next(iter(told), f"--{name.replace('_', '-')}")
    return found


def _keyframe(text: str) -> tuple[int, str]:
    frame, equals, rest = text.partition("=")
    if not (frame.isdecimal() and equals and rest):
        detail = f"{text!r} is not FRAME=FILE, such as 48=boat.png"
        raise typer.BadParameter(detail, param_hint="--keyframe")
    return int(frame), rest


def _local(text: str) -> bool:
    # A download is named after its job, so that only the bare id is one.
    return "://" not in text and not text.startswith("data:") and not is_id("job", text)


def _file(text: str, name: str) -> Path:
    path = Path(text).expanduser()
    if not path.is_file():
        hint = f"--{name.replace('_', '-')}"
        raise typer.BadParameter(f"no file {text!r}, and no URL or job's id", param_hint=hint)
    return path


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise typer.BadParameter(f"{text!r} is not NAME=TEXT", param_hint="--metadata")
    return name, value


@spread
def video(
    prompt: Annotated[str, Argument(help="What to show.")],
    to: Output,
    wanted: Wanted,
    no_wait: Annotated[bool, Option("--no-wait", help="Print the job's id, and leave.")] = False,
    *,
    connection: Connection,
) -> None:
    """Make a video: submit, watch, download."""
    from service.cli import output, phrases
    from service.cli.client import Problem, connect
    from service.cli.download import check_output, download
    from service.cli.watch import watch

    if no_wait and to.output is not None:
        raise typer.BadParameter("there is nothing to save yet with --no-wait", param_hint="-o")
    check_output(to)
    with connect(connection) as client:
        asked = {"prompt": prompt, **wanted.body()}
        try:
            job = client.submit("/generate-video", asked, wanted.files())
        except Problem as refused:
            raise refused.in_flags(_flags()) from None
        if no_wait:
            output.as_json(job) if connection.as_json else output.line(job["id"])
            return
        output.aside(f"job {job['id']}")
        job = watch(client, job)
        if connection.as_json:
            output.as_json(job)
        file = download(client, job, to)
    if not connection.as_json:
        output.line(f"saved {file}  ({phrases.clip(job['result'])})")
        output.fields([("job", job["urls"]["self"]), ("model", phrases.made_by(job))])
