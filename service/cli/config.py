"""Reads the settings for a command; what is wrong with them is told in plain words."""

from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsError

from service.cli.exits import Exit, Stop
from service.environment import unknown_settings
from service.settings import KEY_FILE, ClientSettings, Settings

S = TypeVar("S", bound=BaseSettings)


def read_settings(**given: Any) -> Settings:
    """The settings, with what was `given` by flags on top. Stops the command if they are wrong."""
    return _read(Settings, {name: value for name, value in given.items() if value is not None})


def read_address(url: str | None) -> str:
    """Where the service is: the flag, else RUSHES_URL, else where `rushes up` here would listen."""
    found = url or _read(ClientSettings, {}).url
    if not found:
        settings = read_settings()
        found = address(settings.host, settings.port)
    if not found.startswith(("http://", "https://")):
        raise Stop(Exit.REFUSED, f"the address {found!r} must begin with http:// or https://")
    return found.rstrip("/")


def read_key(api_key: str | None) -> str | None:
    """The flag, else RUSHES_API_KEY, else what the service keeps in the data directory."""
    kept = _read(ClientSettings, {}).api_key
    if api_key or kept:
        return api_key or (kept.get_secret_value() if kept else None)
    try:
        return (read_settings().data_dir / KEY_FILE).read_text().strip() or None
    except OSError:
        return None


def strange_settings() -> list[str]:
    """A line for every RUSHES_… that is no setting, most likely a slip of the pen."""
    return [
        f"no such setting: {name}" + (f"; did you mean {near}?" if near else "")
        for name, near in unknown_settings().items()
    ]


def address(host: str, port: int) -> str:
    """Where to reach what listens there; a wildcard address is reached on loopback."""
    known = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host)  # noqa: S104 - not bound to here
    return f"http://{known or (f'[{host}]' if ':' in host else host)}:{port}"


def _read(kind: type[S], given: dict[str, Any]) -> S:
    try:
        return kind(**given)
    except ValidationError as error:
        raise Stop(Exit.REFUSED, *map(_wrong, error.errors())) from None
    except SettingsError as error:
        hint = 'lists and tables are written as JSON, such as RUSHES_MODELS=["slate"]'
        raise Stop(Exit.REFUSED, f"settings: {error}; {hint}") from None


def _wrong(found: Any) -> str:
    name = ".".join(map(str, found["loc"]))
    message = found["msg"].removeprefix("Value error, ")
    if not name:
        return f"settings: {message}"
    return f"setting {name} (RUSHES_{name.upper()}): {message}"
