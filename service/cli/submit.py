"""Submit a job from the command line: watch it and download its video."""

import re
import shlex
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from service.cli.flags import Connection, Output, Sending
from service.domain.artifact import CaptionFormat

if TYPE_CHECKING:
    from service.cli.client import Client, Json  # imports httpx


@dataclass(frozen=True)
class Request:
    """A request for a job. `flags` are the names by which errors call the API's fields; `captions`
    are saved beside the video."""

    path: str
    body: dict[str, Any]
    files: dict[str, Path]
    flags: dict[str, str]
    captions: CaptionFormat | None = None


def submit(request: Request, to: Output, sending: Sending, connection: Connection) -> None:
    """Post a request, wait for its video and save it; with `no_wait` print the job's id alone.
    Raises CliError."""
    from service.cli import output, phrases
    from service.cli.client import connect
    from service.cli.download import beside, check_output, command_for, download
    from service.cli.watch import watch

    if sending.no_wait and to.output is not None:
        raise typer.BadParameter("--no-wait leaves nothing to save", param_hint="-o")
    check_output(to, request.captions)
    with connect(connection) as client:
        job = _post(client, request, sending, connection)
        if sending.no_wait:
            output.as_json(job) if connection.as_json else output.print_line(job["id"])
            return
        output.notice(f"job {job['id']}")
        fetch = command_for(job["id"], to, connection, captions=request.captions)
        job = watch(client, job, fetch, connection)
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


def _post(client: "Client", request: Request, sending: Sending, connection: Connection) -> "Json":
    """Raises CliError; where a job may have been created all the same, it says how to get it."""
    from service.cli.client import Problem, Unreachable, named_by
    from service.cli.exits import CliError, Exit

    key, flags = sending.idempotency_key, list[str]()
    if key is None:  # a second --idempotency-key would override the first
        key = str(uuid.uuid4())
        flags = ["--idempotency-key", key]
    elif not re.fullmatch(r"[!-~]{1,255}", key):  # other letters cannot be sent
        problem = "--idempotency-key: must be 1 to 255 visible ASCII characters"
        raise CliError(Exit.INVALID, problem)
    command, *words = [word.replace(connection.api_key or "\0", "KEY") for word in sys.argv[1:]]
    again = f"this creates no second job: `{shlex.join(['rushes', command, *flags, *words])}`"
    try:
        with named_by(request.flags | {"Idempotency-Key": "--idempotency-key"}):
            return client.submit(request.path, request.body, request.files, key)
    except (Unreachable, Problem) as error:
        if not error.may_have_arrived:
            raise
        raise CliError(error.exit_code, str(error), again) from None
    except KeyboardInterrupt:
        reason = "interrupted before the service responded"
        raise CliError(Exit.INTERRUPTED, reason, again) from None
