"""`rushes jobs`, `status`, `cancel`, `retry`, `download`: what can be done with a job."""

from typing import Annotated, Literal

from typer import Argument, Option

from service.cli.flags import Connection, Output, spread
from service.cli.video import Wanted

JobId = Annotated[str, Argument(metavar="ID", help="The job's id.")]


@spread
def jobs(
    status: Annotated[str | None, Option(help="One state, or several: queued,running.")] = None,
    model: Annotated[str | None, Option(help="Only jobs for this model.")] = None,
    limit: Annotated[int, Option(help="How many, at most 100.")] = 20,
    *,
    connection: Connection,
) -> None:
    """List your jobs, newest first."""
    from service.cli import output
    from service.cli.client import connect

    query = {"status": status, "model": model, "limit": limit}
    with connect(connection) as client:
        body = client.get("/v1/jobs", **{name: v for name, v in query.items() if v is not None})
    output.as_json(body) if connection.as_json else output.jobs(body)


@spread
def status(job_id: JobId, connection: Connection) -> None:
    """Show one job."""
    from service.cli import output
    from service.cli.client import connect, job_path

    with connect(connection) as client:
        body = client.get(job_path(job_id))
    output.as_json(body) if connection.as_json else output.job(body)


@spread
def cancel(job_id: JobId, connection: Connection) -> None:
    """Cancel a job; a worker stops within one step."""
    from service.cli import output, phrases
    from service.cli.client import connect, job_path

    with connect(connection) as client:
        body = client.post(job_path(job_id, "/cancel"))
    if connection.as_json:
        output.as_json(body)
    else:
        done = "is" if body["status"] == "canceled" else "was already"
        output.line(
            f"{job_id} " + (f"{done} {body['status']}" if phrases.final(body) else "is stopping")
        )


@spread
def retry(
    job_id: JobId,
    wanted: Wanted,
    prompt: Annotated[str | None, Option(help="Instead of the job's own.")] = None,
    *,
    connection: Connection,
) -> None:
    """Make a new job of a final one: the same request and seed, but for what you change."""
    from service.cli import output
    from service.cli.client import connect, job_path

    changes = wanted.body() | ({} if prompt is None else {"prompt": prompt})
    with connect(connection) as client:
        body = client.submit(job_path(job_id, "/retry"), changes, wanted.files())
    output.as_json(body) if connection.as_json else output.job(body)


@spread
def download(
    job_id: JobId,
    to: Output,
    variant: Annotated[
        Literal["video", "thumbnail", "last_frame"], Option(help="Which of its files.")
    ] = "video",
    *,
    connection: Connection,
) -> None:
    """Save a finished job's video."""
    from service.cli import download as resolve_media
    from service.cli import output
    from service.cli.client import connect, job_path

    resolve_media.check_output(to)
    with connect(connection) as client:
        body = client.get(job_path(job_id))
        file = resolve_media.download(client, body, to, variant)
    output.as_json(body) if connection.as_json else output.line(f"saved {file}")
