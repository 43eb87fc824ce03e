"""`rushes up`, from the flags to a running service."""

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
    for line in strange_settings():
        typer.echo(line, err=True)
    settings = settle(read_settings(**flags))
    key_file = settings.data_dir / KEY_FILE
    first_start = not key_file.exists()
    greeted = False

    def say(line: str) -> None:
        nonlocal greeted
        if not greeted:
            greeted = True
            typer.echo(_default_model(settings))
            if first_start and key_file.exists():
                typer.echo(f"your API key, shown this once and kept in {key_file}:")
                typer.echo(f"  {key_file.read_text()}")
        typer.echo(line)

    Supervisor(settings, say).run()


def _default_model(settings: Settings) -> str:
    """What an owner should know before the first job shows it."""
    card = CARDS[settings.models[0]]
    if card.sandbox:
        return f"default model: {card.name}, the sandbox: it draws a placeholder, no video"
    if accelerator() is None:
        return f"default model: {card.name}; no GPU was found: it will be very slow, or fail"
    return f"default model: {card.name}"


def settle(settings: Settings) -> Settings:
    """The same, with the models to serve named, each of them one that there is."""
    found = settings.model_copy(update={"models": settings.models or models_to_serve()})
    try:
        wiring.cards(found)
    except Unavailable as error:
        raise Stop(Exit.REFUSED, error.message) from None
    return found
