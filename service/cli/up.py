"""`rushes up`, from the flags to a running service."""

from typing import Any

import typer
from pydantic import ValidationError

from service.cli.detect import models_to_serve
from service.cli.supervise import CannotStart, Supervisor
from service.settings import Settings
from service.wiring import KEY_FILE


def run_up(flags: dict[str, Any]) -> None:
    """Settle what to serve, then supervise. Exits 1 with a plain word when it cannot."""
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        settings = Settings(**given)
    except ValidationError as error:
        for found in error.errors():
            typer.echo(f"setting {'.'.join(map(str, found['loc']))}: {found['msg']}", err=True)
        raise typer.Exit(2) from None
    settings.models = settings.models or models_to_serve()
    key_file = settings.data_dir / KEY_FILE
    known = key_file.exists()

    def say(line: str) -> None:
        nonlocal known
        if not known and key_file.exists():
            known = True
            typer.echo(f"your API key, shown this once and kept in {key_file}:")
            typer.echo(f"  {key_file.read_text()}")
        typer.echo(line)

    try:
        Supervisor(settings, say).run()
    except CannotStart as error:
        typer.echo(f"rushes cannot start: {error}", err=True)
        raise typer.Exit(1) from None
