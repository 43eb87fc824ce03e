"""`rushes up`: read the settings, choose the models, and run the supervisor."""

import logging
import shlex
from typing import Any

import typer

from service.cli.config import read_settings, unknown_setting_messages
from service.cli.exits import CannotStart, CliError, Exit
from service.cli.processes.detect import accelerator, missing_packages, models_to_serve
from service.cli.processes.supervise import Supervisor
from service.domain.errors import Unavailable
from service.domain.models.catalog import CARDS
from service.installation import rushes_command
from service.log import configure
from service.settings import KEY_FILE, Settings
from service.wiring import rules
from service.workers.syncnet import missing_files

log = logging.getLogger(__name__)


def run_up(**flags: Any) -> None:
    """Resolve the models to serve, then run the supervisor. Raises CliError."""
    settings = read_settings(**flags)
    is_json = settings.log_format == "json"
    if is_json:
        configure(settings.log_level, settings.log_format)
    for line in unknown_setting_messages():
        if is_json:
            log.warning(line)
        else:
            typer.echo(line, err=True)
    settings = with_models(settings)
    if settings.workers:
        check_packages(settings)
    greet = _greet_in_log if is_json else _greet
    had_key = (settings.data_dir / KEY_FILE).exists()
    Supervisor(
        settings,
        say=log.info if is_json else typer.echo,
        greet=lambda url: greet(settings, url, is_first_start=not had_key),
        bye=_log_stop if is_json else _say_stop,
    ).run()


def _greet(settings: Settings, url: str, is_first_start: bool) -> None:
    """Print the address, the default model and, at the first start, the API key."""
    key_file = settings.data_dir / KEY_FILE
    typer.echo(_default_model(settings))
    if settings.bootstrap_key:
        typer.echo("your API key is RUSHES_BOOTSTRAP_KEY; the command line reads RUSHES_API_KEY")
    elif is_first_start and key_file.exists():
        typer.echo(f"your API key, shown only once and saved in {key_file}:")
        typer.echo(f"  {key_file.read_text()}")
    elif key_file.exists():
        typer.echo(f"your API key is in {key_file}")
    typer.echo(f"admin pages: {url}/admin")
    typer.echo(f"documentation: {url}/docs")
    typer.echo(f'try, in another terminal: {_command(settings)} video "A red ball"')
    typer.echo(f"ready {url}")


def _command(settings: Settings) -> str:
    """Return the command line's name, with the data directory where it would not find it."""
    if settings.data_dir == read_settings().data_dir:
        return rushes_command()
    return f"RUSHES_DATA_DIR={shlex.quote(str(settings.data_dir))} {rushes_command()}"


def _say_stop(unfinished: int | None) -> None:
    if not unfinished:
        typer.echo("stopped")
    elif unfinished == 1:
        typer.echo("stopped; 1 unfinished job runs again at the next start")
    else:
        typer.echo(f"stopped; {unfinished} unfinished jobs run again at the next start")


def _log_stop(unfinished: int | None) -> None:
    log.info("stopped", extra={"unfinished": unfinished})


def _greet_in_log(settings: Settings, url: str, is_first_start: bool) -> None:
    """Log the address and the default model, but never the key."""
    key_file = settings.data_dir / KEY_FILE
    log.info(_default_model(settings))
    if is_first_start and key_file.exists():
        log.info("API key created", extra={"file": key_file})
    log.info("ready", extra={"url": url, "admin": f"{url}/admin"})


def _default_model(settings: Settings) -> str:
    """Describe the default model, with a warning if it cannot make real videos here."""
    card = CARDS[settings.models[0]]
    if card.sandbox:
        return f"default model: {card.name}, the sandbox: it draws a placeholder, not a real video"
    if card.gpus and accelerator() is None:
        return f"default model: {card.name}; no GPU found: it will be very slow, or fail"
    return f"default model: {card.name}"


def with_models(settings: Settings) -> Settings:
    """Return the settings with `models` filled in. Raises CliError for an unknown model."""
    complete = settings.model_copy(update={"models": settings.models or models_to_serve()})
    try:
        rules.cards(complete)
    except Unavailable as error:
        raise CliError(Exit.INVALID, error.message) from None
    return complete


def check_packages(settings: Settings) -> None:
    """Raise CannotStart if a worker here could not load one of the models, or score lips."""
    if sentences := missing_packages(settings.models):
        raise CannotStart("; ".join(sentences))
    if settings.syncnet is not None and (missing := missing_files(settings.syncnet)):
        raise CannotStart(
            f"RUSHES_SYNCNET: {settings.syncnet} lacks {', '.join(missing)}; see docs/avatars.md"
        )
