"""Read settings for a command and report invalid ones in one line each."""

import re
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsError

from service.cli.exits import CliError, Exit
from service.environment import unknown_settings
from service.settings import ADDRESS_FILE, KEY_FILE, ClientSettings, Settings

S = TypeVar("S", bound=BaseSettings)


def read_settings(**flags: Any) -> Settings:
    """Read the settings; flags that are not None override them. Raises CliError."""
    return _read(Settings, {name: value for name, value in flags.items() if value is not None})


def read_address(url: str | None) -> str:
    """Return the URL: the flag, else RUSHES_URL, else where the service of the data directory
    listens, or would by default."""
    base_url = url or _read(ClientSettings, {}).url
    if not base_url:
        settings = read_settings()
        running = _content(settings.data_dir / ADDRESS_FILE)
        base_url = running or address(settings.host, settings.port)
    if not base_url.startswith(("http://", "https://")):
        raise CliError(
            Exit.INVALID, f"the address {base_url!r} must begin with http:// or https://"
        )
    return base_url.rstrip("/").removesuffix("/v1").rstrip("/")


def read_key(api_key: str | None, url: str) -> str | None:
    """Return the flag, else RUSHES_API_KEY, else the key in the data directory: that is of a
    service on this machine, and no other gets it."""
    setting = _read(ClientSettings, {}).api_key
    if api_key or setting:
        return api_key or (setting.get_secret_value() if setting else None)
    folder = read_settings().data_dir
    host = urlsplit(url).hostname or ""
    is_loopback = host in ("localhost", "::1") or re.fullmatch(r"127(\.\d+){3}", host)
    is_here = is_loopback or url == _content(folder / ADDRESS_FILE)
    return _content(folder / KEY_FILE) if is_here else None


def _content(file: Path) -> str | None:
    try:
        return file.read_text().strip() or None
    except OSError:
        return None


def unknown_setting_messages() -> list[str]:
    """Return a line for each RUSHES_… variable that is no setting, most likely a typo."""
    return [
        f"no such setting: {name}" + (f"; did you mean {near}?" if near else "")
        for name, near in unknown_settings().items()
    ]


def address(host: str, port: int) -> str:
    """Return the URL of a listening address; a wildcard address is reached on loopback."""
    loopback = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host)  # noqa: S104 - nothing binds to it here
    return f"http://{loopback or (f'[{host}]' if ':' in host else host)}:{port}"


def _read(kind: type[S], flags: dict[str, Any]) -> S:
    try:
        return kind(**flags)
    except ValidationError as error:
        raise CliError(Exit.INVALID, *map(_message, error.errors())) from None
    except SettingsError as error:
        hint = 'lists and tables are written as JSON, such as RUSHES_MODELS=["slate"]'
        raise CliError(Exit.INVALID, f"settings: {error}; {hint}") from None


def _message(error: Any) -> str:
    name = ".".join(map(str, error["loc"]))
    message = error["msg"].removeprefix("Value error, ")
    if not name:
        return f"settings: {message}"
    return f"setting {name} (RUSHES_{name.upper()}): {message}"
