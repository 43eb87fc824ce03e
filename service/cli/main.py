"""The command line: `rushes …`. Heavy imports wait inside the commands, so that help is quick."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="rushes",
    help="Text in, video out, on your own GPUs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def up(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Database and clips.")] = None,
    workers: Annotated[int | None, typer.Option(help="Local worker processes.")] = None,
) -> None:
    """Run the service: the API and its local workers."""
    from service.cli.up import run_up

    run_up({"host": host, "port": port, "data_dir": data_dir, "workers": workers})


@app.command(hidden=True)
def api(socket_fd: int | None = None) -> None:
    """The API process alone; `up` starts it."""
    from service.cli.lifeline import hold_on
    from service.cli.logs import configure
    from service.cli.serve import serve
    from service.settings import Settings

    settings = Settings()
    configure(settings.log_level)
    if socket_fd is not None:
        hold_on()
    serve(settings, socket_fd)


@app.command()
def worker(
    url: Annotated[str, typer.Option(help="The API's address.")] = "http://127.0.0.1:8787",
    name: Annotated[str, typer.Option(help="What to call this worker.")] = "worker",
    child: Annotated[bool, typer.Option("--child", hidden=True)] = False,
) -> None:
    """Run one more worker; it needs the service's RUSHES_WORKER_TOKEN and data directory."""
    from service.cli.lifeline import hold_on
    from service.cli.logs import configure
    from service.cli.work import work
    from service.settings import Settings

    settings = Settings()
    configure(settings.log_level)
    if child:
        hold_on()
    work(settings, url, name)


@app.command()
def migrate() -> None:
    """Bring the database up to date."""
    from service.settings import Settings
    from service.store.schema import migrate as apply

    apply(Settings().database_url)
    typer.echo("the database is up to date")


def main() -> None:
    app()


if __name__ == "__main__":
    main()
