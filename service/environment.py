"""The environment of child processes: what each may know of the settings."""

import json
import os
from difflib import get_close_matches

from dotenv import dotenv_values
from pydantic import SecretStr

from service.settings import ClientSettings, Settings


def child_environment(settings: Settings) -> dict[str, str]:
    """The environment for a process that is to find these very settings."""
    return {**os.environ, **{f"RUSHES_{k.upper()}": v for k, v in texts(settings).items()}}


def unknown_settings() -> dict[str, str]:
    """Names in the environment or in `.env` that look like settings and are none, each with the
    nearest that is one, or an empty text."""
    known = [f"RUSHES_{n.upper()}" for n in (*Settings.model_fields, *ClientSettings.model_fields)]
    given = {*os.environ, *dotenv_values(".env")}
    strange = sorted(name for name in given if name.startswith("RUSHES_") and name not in known)
    return {name: next(iter(get_close_matches(name, known, n=1)), "") for name in strange}


# What a worker needs to know. It runs the models' code, so that it is told no secret but its own.
_FOR_WORKERS = {
    *("data_dir", "models", "accept_licences", "weights", "worker_token"),
    *("compile", "compile_decoder", "compiled_shapes", "compiled_dir", "attention", "quantize"),
    *("vae_dtype", "vae_channels_last", "embeddings_bytes", "ahead_bytes"),
    *("max_image_bytes", "max_video_bytes", "egress_ports", "webhooks_allow_loopback"),
    *("log_level", "log_format", "failpoint"),
    *(name for name in Settings.model_fields if name.startswith("s3_")),
}


def worker_environment(settings: Settings) -> dict[str, str]:
    """The environment for a worker process: without the database, keys and secrets."""
    known = {f"RUSHES_{name.upper()}" for name in _FOR_WORKERS}
    return {
        name: text
        for name, text in child_environment(settings).items()
        if name in known or not name.startswith("RUSHES_")
    }


def keep_compiled(settings: Settings) -> None:
    """Torch is told by the environment alone where to keep what it compiles; before it is used."""
    if settings.compiled_dir is not None:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(settings.compiled_dir)


def texts(settings: Settings) -> dict[str, str]:
    """Every setting as text; one that is not set is empty, which reads as not set."""
    texts = {}
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        if isinstance(value, list | dict):
            value = json.dumps(value, default=str)
        texts[name] = "" if value is None else str(value)
    return texts
