"""The command line `rushes`. Commands import what they need late, so that help is quick."""

import os
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer

from service.cli import avatars, keys, models
from service.cli.app import App
from service.cli.avatar import avatar
from service.cli.doctor import doctor
from service.cli.exits import EPILOG, CliError, Exit
from service.cli.jobs import cancel, delete, download, jobs, retry, status
from service.cli.usage import usage
from service.cli.video import video
from service.cli.voices import voices
from service.stdio import make_nonblocking

app = App(
    name="rushes",
    help="Text in, video out, on your own GPUs.",
    epilog=EPILOG,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# For a command that another process runs: it ends with its parent.
Child = Annotated[bool, typer.Option("--child", hidden=True)]


def _version(is_set: bool) -> None:
    if is_set:
        from importlib.metadata import version

        typer.echo(f"rushes {version('rushes')}")
        raise typer.Exit


@app.callback()
def rushes(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Text in, video out, on your own GPUs."""


@app.command()
def up(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 for any free one.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder for all data.")] = None,
    workers: Annotated[int | None, typer.Option(help="Local worker processes.")] = None,
    child: Child = False,
) -> None:
    """Run the service: the API and its local workers."""
    from service.cli.processes.parent_watch import end_with_parent
    from service.cli.processes.up import run_up

    make_nonblocking()
    if child:
        end_with_parent()
    run_up(host=host, port=port, data_dir=data_dir, workers=workers)


for command in (video, avatar, jobs, status, cancel, retry, download, delete, voices, usage):
    app.command()(command)
app.add_typer(avatars.app, name="avatars")
app.add_typer(keys.app, name="keys")
app.add_typer(models.app, name="models")
app.command()(doctor)


@app.command(hidden=True)
def api(socket_fd: int | None = None, pulse_fd: int | None = None) -> None:
    """Run the API process alone; `up` starts it."""
    from service.cli.config import read_settings
    from service.cli.processes.parent_watch import end_with_parent
    from service.cli.processes.serve import serve
    from service.failpoint import arm
    from service.log import configure

    make_nonblocking()
    settings = read_settings()
    configure(settings.log_level, settings.log_format)
    if settings.failpoint:
        arm(settings.failpoint)
    if socket_fd is not None:
        end_with_parent()
    serve(settings, socket_fd, pulse_fd)


@app.command()
def worker(
    url: Annotated[str | None, typer.Option(help="The API's address.")] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of this worker. Default: this machine's.")
    ] = None,
    child: Child = False,
) -> None:
    """Run another worker.

    It needs the service's RUSHES_WORKER_TOKEN, and its data directory or bucket."""
    import socket

    from service.cli.config import read_address, read_settings
    from service.cli.processes.parent_watch import end_with_parent
    from service.cli.processes.work import work
    from service.failpoint import arm
    from service.log import configure

    make_nonblocking()
    settings = read_settings()
    configure(settings.log_level, settings.log_format)
    if settings.failpoint:
        arm(settings.failpoint)
    if child:
        end_with_parent()
    work(settings, read_address(url), name or socket.gethostname())


@app.command()
def migrate() -> None:
    """Migrate the database to this release."""
    from service.cli.config import read_settings
    from service.cli.processes.upgrade import upgrade

    upgrade(read_settings())
    typer.echo("the database is up to date")


def main() -> None:
    """Run a command; errors go to standard error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without ✓ still shows the rest
    try:
        app()
    except CliError as error:
        typer.echo(str(error), err=True)
        raise SystemExit(error.exit_code) from None
    except UnicodeEncodeError:
        argument = next((word for word in sys.argv[1:] if not _is_utf8(word)), None)
        if argument is None:
            raise
        text = os.fsencode(argument).decode(errors="backslashreplace")
        typer.echo(f"invalid argument '{text}': not UTF-8", err=True)
        raise SystemExit(Exit.INVALID) from None


def _is_utf8(word: str) -> bool:
    """Check for surrogates, which stand for bytes that are not UTF-8."""
    return not any("\ud800" <= letter <= "\udfff" for letter in word)


if __name__ == "__main__":
    main()
