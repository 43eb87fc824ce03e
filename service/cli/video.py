"""`rushes video`: from a prompt to a file."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

import typer
from typer import Argument, Option

from service.cli.flags import Connection, Output, spread


@dataclass(frozen=True)
class Wanted:
    """The flags that say what to make, named as the API's fields are. What is left out, the
    service fills in from the model's card."""

    model: Annotated[str | None, Option(help="See `rushes models`.")] = None
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
    priority: Annotated[
        Literal["low", "normal", "high"] | None, Option(help="Order within the queue.")
    ] = None
    timeout_seconds: Annotated[
        int | None, Option("--timeout", help="Fail an attempt that runs for more seconds.")
    ] = None
    start_timeout_seconds: Annotated[
        int | None, Option("--start-timeout", help="Expire if no worker took it in these seconds.")
    ] = None
    metadata: Annotated[
        list[str] | None, Option(metavar="NAME=TEXT", help="Kept on the job; may be repeated.")
    ] = None

    def body(self) -> dict[str, Any]:
        """As the API takes it."""
        given = {name: value for name, value in asdict(self).items() if value not in (None, [])}
        if "metadata" in given:
            given["metadata"] = dict(map(_pair, given["metadata"]))
        return given


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
    from service.cli import show, words
    from service.cli.client import connect
    from service.cli.download import check_output, download
    from service.cli.watch import watch

    if no_wait and to.output is not None:
        raise typer.BadParameter("there is nothing to save yet with --no-wait", param_hint="-o")
    check_output(to)
    with connect(connection) as client:
        job = client.submit("/generate-video", {"prompt": prompt, **wanted.body()})
        if no_wait:
            show.as_json(job) if connection.as_json else show.line(job["id"])
            return
        show.aside(f"job {job['id']}")
        job = watch(client, job)
        if connection.as_json:
            show.as_json(job)
        file = download(client, job, to)
    if not connection.as_json:
        show.line(f"saved {file}  ({words.clip(job['result'])})")
        show.fields([("job", job["urls"]["self"]), ("model", words.made_by(job))])
