"""Stays with a job until it is final, through lost connections and Ctrl-C."""

import sys
import time
from typing import Literal

import typer

from service.cli.client import Client, Problem, Unreachable, job_path
from service.cli.exits import Exit, Stop
from service.cli.phrases import Json, final
from service.cli.progress import Meter, meter

# No `?wait`: it holds the answer back until the job is final, and the bar would stand still.
_FIRST_PAUSE_SECONDS = 0.1
_MAX_PAUSE_SECONDS = 0.5
_QUEUED_PAUSE_SECONDS = 2.0  # there is little to see in a queue
_PATIENCE_SECONDS = 60.0


def watch(client: Client, job: Json) -> Json:
    """The job once it is final. Stops the command when a person leaves or the service is gone."""
    shown = meter()
    while True:
        try:
            return _until_final(client, job, shown)
        except KeyboardInterrupt:
            choice = _ask(job["id"])
        if choice != "watch":
            _leave(client, job["id"], choice)


def _until_final(client: Client, job: Json, shown: Meter) -> Json:
    pause = _FIRST_PAUSE_SECONDS
    try:
        shown.start()  # in here: Ctrl-C may come while it starts, and half a bar must stop too
        shown.show(job)
        while not final(job):
            time.sleep(pause)
            queued = job["status"] == "queued"
            pause = min(pause * 1.2, _QUEUED_PAUSE_SECONDS if queued else _MAX_PAUSE_SECONDS)
            job = _look(client, job["id"], shown)
            shown.show(job)
        return job
    finally:
        shown.stop()


def _look(client: Client, job_id: str, shown: Meter) -> Json:
    """The job as it is now; a service that restarts is waited for."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return client.get(job_path(job_id))
        except (Unreachable, Problem) as trouble:
            if isinstance(trouble, Problem) and trouble.status < 500:
                raise
            if time.monotonic() > deadline:
                raise Stop(trouble.exit_code, str(trouble), _how_to_go_on(job_id)) from None
            shown.away(str(trouble).partition("\n")[0])
            time.sleep(1)


def _ask(job_id: str) -> Literal["cancel", "leave", "watch"]:
    if not sys.stdin.isatty():
        return "leave"
    question = f"Cancel job {job_id}? [y/N/keep watching]"
    try:
        answer = typer.prompt(question, default="n", show_default=False, err=True).strip().lower()
    except typer.Abort:  # Ctrl-C again: in a hurry
        typer.echo(err=True)
        return "leave"
    if answer.startswith("k"):
        return "watch"
    return "cancel" if answer.startswith("y") else "leave"


def _leave(client: Client, job_id: str, choice: Literal["cancel", "leave"]) -> None:
    if choice == "leave":
        raise Stop(Exit.INTERRUPTED, f"job {job_id} goes on", _how_to_go_on(job_id))
    job = client.post(job_path(job_id, "/cancel"))
    if job["status"] == "succeeded":
        raise Stop(Exit.INTERRUPTED, f"job {job_id} was done already", _how_to_go_on(job_id))
    raise Stop(
        Exit.INTERRUPTED, f"job {job_id} " + ("is canceled" if final(job) else "is stopping")
    )


def _how_to_go_on(job_id: str) -> str:
    return f"go on with `rushes status {job_id}` and `rushes download {job_id}`"
