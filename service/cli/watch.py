"""Poll a job until it is final, through lost connections and Ctrl-C."""

import shlex
import sys
import time
from typing import Literal

import typer

from service.cli.client import Client, Problem, Unreachable, job_path
from service.cli.exits import CliError, Exit
from service.cli.flags import Connection
from service.cli.phrases import Json, is_final
from service.cli.progress import Meter, meter

# No `?wait`: it returns only once the job is final, and the bar would not move.
_FIRST_PAUSE_SECONDS = 0.1
_MAX_PAUSE_SECONDS = 0.5
_QUEUED_PAUSE_SECONDS = 2.0  # progress is slow in the queue
_MAX_OFFLINE_SECONDS = 60.0


def watch(client: Client, job: Json, fetch: str, connection: Connection) -> Json:
    """Return the job once it is final. `fetch` is the command line that does what follows.

    Raises CliError on Ctrl-C or when the service is gone.
    """
    bar = meter()
    while True:
        try:
            return _until_final(client, job, bar, fetch, connection)
        except KeyboardInterrupt:
            choice = _ask(job["id"])
        if choice != "watch":
            _leave(client, job["id"], choice, fetch, connection)


def _until_final(client: Client, job: Json, bar: Meter, fetch: str, connection: Connection) -> Json:
    pause = _FIRST_PAUSE_SECONDS
    try:
        bar.start()  # inside `try`: Ctrl-C may come while it starts
        bar.show(job)
        while not is_final(job):
            time.sleep(pause)
            is_queued = job["status"] == "queued"
            pause = min(pause * 1.2, _QUEUED_PAUSE_SECONDS if is_queued else _MAX_PAUSE_SECONDS)
            job = _poll(client, job["id"], bar, fetch, connection)
            bar.show(job)
        return job
    finally:
        bar.stop()


def _poll(client: Client, job_id: str, bar: Meter, fetch: str, connection: Connection) -> Json:
    """Get the job; retry for a minute while the service is down."""
    deadline = time.monotonic() + _MAX_OFFLINE_SECONDS
    while True:
        try:
            return client.get(job_path(job_id))
        except (Unreachable, Problem) as error:
            if isinstance(error, Problem) and error.status < 500:
                raise
            if time.monotonic() > deadline:
                raise CliError(
                    error.exit_code, str(error), _next_steps(job_id, fetch, connection)
                ) from None
            bar.offline(str(error).partition("\n")[0])
            time.sleep(1)


def _ask(job_id: str) -> Literal["cancel", "leave", "watch"]:
    if not sys.stdin.isatty():
        return "leave"
    question = f"Cancel job {job_id}? [y/N/keep watching]"
    try:
        answer = typer.prompt(question, default="n", show_default=False, err=True).strip().lower()
    except typer.Abort:  # Ctrl-C again
        typer.echo(err=True)
        return "leave"
    if answer.startswith("k"):
        return "watch"
    return "cancel" if answer.startswith("y") else "leave"


def _leave(
    client: Client,
    job_id: str,
    choice: Literal["cancel", "leave"],
    fetch: str,
    connection: Connection,
) -> None:
    if choice == "leave":
        raise CliError(Exit.INTERRUPTED, "the job goes on", _next_steps(job_id, fetch, connection))
    job = client.post(job_path(job_id, "/cancel"))
    if job["status"] == "succeeded":
        message = f"job {job_id} had already finished"
        raise CliError(Exit.INTERRUPTED, message, f"fetch it: `{fetch}`")
    raise CliError(
        Exit.INTERRUPTED, f"job {job_id} " + ("is canceled" if is_final(job) else "is stopping")
    )


def _next_steps(job_id: str, fetch: str, connection: Connection) -> str:
    see = shlex.join(["rushes", "status", job_id, *connection.words])
    stop = shlex.join(["rushes", "cancel", job_id, *connection.words])
    return f"see it: `{see}`; stop it: `{stop}`; fetch it: `{fetch}`"
