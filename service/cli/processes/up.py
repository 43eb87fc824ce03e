"""`rushes up`, from the flags to a running service."""

from typing import Any

import typer

from service.cli.config import read_settings, strange_settings
from service.cli.exits import Exit, Stop
from service.cli.processes.detect import accelerator, models_to_serve
from service.cli.processes.supervise import Supervisor
from service.domain.errors import Unavailable
from service.domain.models.catalog import CARDS
from service.log import Log, configure
from service.settings import KEY_FILE, Settings
from service.wiring import rules

log = Log(__name__)


def run_up(**flags: Any) -> None:
    """Settle what to serve, then supervise. Stops the command when something is in the way."""
    settings = read_settings(**flags)
    is_json = settings.log_format == "json"
    if is_json:
        configure(settings.log_level, settings.log_format)
    for line in strange_settings():
        if is_json:
            log.warning(line)
        else:
            typer.echo(line, err=True)
    settings = settle(settings)
    greet = _greet_in_log if is_json else _greet
    had_key = (settings.data_dir / KEY_FILE).exists()
    Supervisor(
        settings,
        say=log.info if is_json else typer.echo,
        greet=lambda url: greet(settings, url, is_first_start=not had_key),
    ).run()


def _greet(settings: Settings, url: str, is_first_start: bool) -> None:
    """Print the address and the default model, and at the first start the key."""
    key_file = settings.data_dir / KEY_FILE
    typer.echo(_default_model(settings))
    if is_first_start and key_file.exists():
        typer.echo(f"your API key, shown this once and kept in {key_file}:")
        typer.echo(f"  {key_file.read_text()}")
    typer.echo(f"ready {url}")


def _greet_in_log(settings: Settings, url: str, is_first_start: bool) -> None:
    """Log the same but the key: logs are kept and sent on."""
    key_file = settings.data_dir / KEY_FILE
    log.info(_default_model(settings))
    if is_first_start and key_file.exists():
        log.info("API key made", kept_in=key_file)
    log.info("ready", url=url)


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
        rules.cards(found)
    except Unavailable as error:
        raise Stop(Exit.REFUSED, error.message) from None
    return found
