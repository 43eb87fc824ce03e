"""`rushes up`, from the flags to a running service."""

from collections.abc import Iterator
from typing import Any

import typer

from service import wiring
from service.cli.detect import accelerator, models_to_serve
from service.cli.read import read_settings, strange_settings
from service.cli.stop import Exit, Stop
from service.cli.supervise import Supervisor
from service.domain.catalog import CARDS
from service.domain.errors import Unavailable
from service.settings import KEY_FILE, Settings


def run_up(**flags: Any) -> None:
    """Settle what to serve, then supervise. Stops the command when something is in the way."""
    settings = settle(read_settings(**flags))
    for line in _remarks(settings):
        typer.echo(line, err=True)
    key_file = settings.data_dir / KEY_FILE
    known = key_file.exists()

    def say(line: str) -> None:
        nonlocal known
        if not known and key_file.exists():
            known = True
            typer.echo(f"your API key, shown this once and kept in {key_file}:")
            typer.echo(f"  {key_file.read_text()}")
        typer.echo(line)

    Supervisor(settings, say).run()


def _remarks(settings: Settings) -> Iterator[str]:
    """What an owner should know before the first job shows it."""
    yield from strange_settings()
    default = CARDS[settings.models[0]]
    if default.sandbox:
        yield f"default model: {default.name}, the sandbox: it draws a placeholder, no video"
    elif accelerator() is None:
        yield f"default model: {default.name}; no GPU was found: it will be very slow, or fail"
    else:
        yield f"default model: {default.name}"


def settle(settings: Settings) -> Settings:
    """The same, with the models to serve named, each of them one that there is."""
    found = settings.model_copy(update={"models": settings.models or models_to_serve()})
    try:
        wiring.cards(found)
    except Unavailable as error:
        raise Stop(Exit.REFUSED, error.message) from None
    return found
