"""Environment variables of child processes."""

import json
import os
from difflib import get_close_matches

from dotenv import dotenv_values
from pydantic import AliasChoices, SecretStr

from service.domain.models.tuning import Tuning
from service.settings import ClientSettings, Settings


def child_environment(settings: Settings) -> dict[str, str]:
    """Return the environment of a process with the same settings."""
    return {**os.environ, **{f"RUSHES_{k.upper()}": v for k, v in setting_texts(settings).items()}}


def unknown_settings() -> dict[str, str]:
    """Return unknown RUSHES_ names in the environment and `.env`, each with the nearest valid one
    or an empty text."""
    names = [f"RUSHES_{n.upper()}" for n in (*Settings.model_fields, *ClientSettings.model_fields)]
    environment = {*os.environ, *dotenv_values(".env")}
    unknown = sorted(n for n in environment if n.startswith("RUSHES_") and n not in names)
    return {name: next(iter(get_close_matches(name, names, n=1)), "") for name in unknown}


# Settings that are read by a name of their own, too: secrets of providers.
_OWN_NAMES = frozenset(
    name
    for field in Settings.model_fields.values()
    if isinstance(field.validation_alias, AliasChoices)
    for name in field.validation_alias.choices
)

# Settings of a worker. It runs the models' code, so it gets no secret but its own.
_FOR_WORKERS = {
    *("data_dir", "models", "accept_licences", "weights", "worker_token"),
    *(*Tuning.model_fields, "compiled_dir", "ahead_bytes", "syncnet"),
    *("max_image_bytes", "max_video_bytes", "egress_ports", "webhooks_allow_loopback"),
    *("log_level", "log_format", "failpoint"),
    *(name for name in Settings.model_fields if name.startswith("s3_")),
}


def worker_environment(settings: Settings) -> dict[str, str]:
    """Return the environment of a worker process: without database, keys and secrets."""
    names = {f"RUSHES_{name.upper()}" for name in _FOR_WORKERS}
    return {
        name: text
        for name, text in child_environment(settings).items()
        if name in names or _is_foreign(name)
    }


def tool_environment() -> dict[str, str]:
    """Return the environment of a program that needs no setting and no secret of the service."""
    return {name: text for name, text in os.environ.items() if _is_foreign(name)}


def _is_foreign(name: str) -> bool:
    # OTEL_EXPORTER_OTLP_HEADERS holds the key of a collector, which the API alone needs.
    return not name.startswith(("RUSHES_", "OTEL_")) and name not in _OWN_NAMES


def wants_traces() -> bool:
    """Tell whether the standard variables of OpenTelemetry name a collector of traces."""
    names = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    is_off = (
        os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
        or os.environ.get("OTEL_TRACES_EXPORTER", "otlp").strip().lower() == "none"
    )
    return not is_off and any(os.environ.get(name) for name in names)


# The key of a collector, which a deployment has in its Secret.
TRACES_KEY = "OTEL_EXPORTER_OTLP_HEADERS"


def traces_environment() -> dict[str, str]:
    """Return the variables of OpenTelemetry that are no secret, for a service elsewhere."""
    names = [n for n in os.environ if n.startswith("OTEL_") and not n.endswith("_HEADERS")]
    return {name: os.environ[name] for name in names}


def keep_compiled(settings: Settings) -> None:
    """Set torch's cache folder for compiled code; call this before torch is imported."""
    if settings.compiled_dir is not None:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(settings.compiled_dir)


def setting_texts(settings: Settings) -> dict[str, str]:
    """Return every setting as text; unset ones are empty, which reads as unset."""
    texts = {}
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        if isinstance(value, list | dict):
            value = json.dumps(value, default=str)
        texts[name] = "" if value is None else str(value)
    return texts
