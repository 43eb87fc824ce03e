"""Commands for existing jobs: `rushes jobs`, `status`, `cancel`, `delete`, `retry`, `download`."""

from typing import Annotated

from typer import Argument, Option

from service.cli.flags import Connection, Output, Sending, flatten_flags
from service.cli.submit import Request, submit
from service.cli.values import flags_of
from service.cli.video import VideoOptions
from service.domain.artifact import Variant

JobId = Annotated[str, Argument(metavar="ID", help="The job's id.")]


@flatten_flags
def jobs(
    status: Annotated[str | None, Option(help="One state, or several: queued,running.")] = None,
    model: Annotated[str | None, Option(help="Only jobs for this model.")] = None,
    limit: Annotated[int, Option(help="How many, at most 100.")] = 20,
    *,
    connection: Connection,
) -> None:
    """List your jobs, newest first."""
    from service.cli import output
    from service.cli.client import connect, named_by

    query = {"status": status, "model": model, "limit": limit}
    flags = {name: f"--{name}" for name in query}
    with connect(connection) as client, named_by(flags):
        body = client.get("/v1/jobs", **{name: v for name, v in query.items() if v is not None})
    output.as_json(body) if connection.as_json else output.jobs(body)


@flatten_flags
def status(job_id: JobId, connection: Connection) -> None:
    """Show one job."""
    from service.cli import output
    from service.cli.client import connect, job_path

    with connect(connection) as client:
        body = client.get(job_path(job_id))
    output.as_json(body) if connection.as_json else output.job(body)


@flatten_flags
def cancel(job_id: JobId, connection: Connection) -> None:
    """Cancel a job; a worker stops within one step."""
    from service.cli import output, phrases
    from service.cli.client import connect, job_path

    with connect(connection) as client:
        body = client.post(job_path(job_id, "/cancel"))
    if connection.as_json:
        output.as_json(body)
    else:
        verb = "is" if body["status"] == "canceled" else "was already"
        output.print_line(
            f"{job_id} " + (f"{verb} {body['status']}" if phrases.is_final(body) else "is stopping")
        )


@flatten_flags
def delete(
    job_ids: Annotated[list[str], Argument(metavar="ID", help="Ids of final jobs.")],
    connection: Connection,
) -> None:
    """Delete final jobs and their videos."""
    from service.cli import output
    from service.cli.client import Problem, connect, job_path
    from service.cli.exits import CliError

    deleted, problems = [], {}
    with connect(connection) as client:
        for job_id in job_ids:
            try:
                deleted.append(client.delete(job_path(job_id)))
            except Problem as problem:
                problems[job_id] = problem
    if connection.as_json:
        output.as_json({"object": "list", "data": deleted})
    else:
        for body in deleted:
            output.print_line(f"{body['id']} is deleted")
    if problems:
        exit_code = next(iter(problems.values())).exit_code
        raise CliError(exit_code, *(f"{job_id}: {each}" for job_id, each in problems.items()))


@flatten_flags
def retry(
    job_id: JobId,
    to: Output,
    options: VideoOptions,
    prompt: Annotated[str | None, Option(help="Instead of the job's own.")] = None,
    *,
    sending: Sending,
    connection: Connection,
) -> None:
    """Submit a final job again as a new one; watch and download it.

    The request and the seed stay the same, except what you change."""
    from service.cli.client import job_path

    changes = options.body() | ({} if prompt is None else {"prompt": prompt})
    flags = flags_of(VideoOptions) | {"prompt": "--prompt", "model": "--model"}
    request = Request(job_path(job_id, "/retry"), changes, options.files(), flags)
    submit(request, to, sending, connection)


@flatten_flags
def download(
    job_id: JobId,
    to: Output,
    variant: Annotated[Variant, Option(help="Which of its files.")] = "video",
    wait: Annotated[bool, Option("--wait", help="Wait until the job is final.")] = False,
    *,
    connection: Connection,
) -> None:
    """Save a finished job's video."""
    from service.cli import download as downloads
    from service.cli import output
    from service.cli.client import connect, job_path
    from service.cli.watch import watch

    downloads.check_output(to)
    with connect(connection) as client:
        body = client.get(job_path(job_id))
        if wait:
            fetch = downloads.command_for(job_id, to, connection, variant)
            body = watch(client, body, fetch, connection)
        file = downloads.download(client, body, to, variant)
    output.as_json(body) if connection.as_json else output.print_line(f"saved {file}")
