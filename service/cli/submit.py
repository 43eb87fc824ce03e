"""Submit a job from the command line: watch it and download its video."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from service.cli.flags import Connection, Output
from service.domain.artifact import CaptionFormat


@dataclass(frozen=True)
class Request:
    """A request for a job. `flags` are the names by which errors call the API's fields; `captions`
    are saved beside the video."""

    path: str
    body: dict[str, Any]
    files: dict[str, Path]
    flags: dict[str, str]
    captions: CaptionFormat | None = None


def submit(request: Request, to: Output, connection: Connection, *, no_wait: bool) -> None:
    """Post a request, wait for its video and save it; with `no_wait` print the job's id alone.
    Raises CliError."""
    from service.cli import output, phrases
    from service.cli.client import connect, named_by
    from service.cli.download import beside, check_output, command_for, download
    from service.cli.watch import watch

    if no_wait and to.output is not None:
        raise typer.BadParameter("--no-wait leaves nothing to save", param_hint="-o")
    check_output(to, request.captions)
    with connect(connection) as client:
        with named_by(request.flags):
            job = client.submit(request.path, request.body, request.files)
        if no_wait:
            output.as_json(job) if connection.as_json else output.print_line(job["id"])
            return
        output.notice(f"job {job['id']}")
        fetch = command_for(job["id"], to, connection, captions=request.captions)
        job = watch(client, job, fetch)
        if connection.as_json:
            output.as_json(job)
        file = download(client, job, to)
        captions = None
        if request.captions is not None:
            captions = beside(file, request.captions)
            download(client, job, Output(captions, to.force), "captions")
    if not connection.as_json:
        output.print_line(f"saved {file}  ({phrases.video(job['result'])})")
        if captions is not None:
            output.print_line(f"saved {captions}")
        output.fields([("model", phrases.model(job)), *phrases.warnings(job)])
