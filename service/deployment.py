"""What a deployment on Modal consists of, by its settings: models, limits, and what it is told."""

from pathlib import Path

from pydantic import SecretStr

from service.environment import texts
from service.settings import Settings

API_INPUTS = 100  # requests that one container of the api works on at once
WEIGHTS = Path("/weights")  # where containers see the weights Volume

# What is true of this machine only, or is told by a Secret.
_NOT_DEPLOYED = {
    *("host", "port", "data_dir", "database_url", "workers", "dispatch", "log_format", "failpoint"),
    *("compiled_dir", "hung_after_seconds"),
    "modal_environment",  # a container's own is where it was deployed, whatever was set here
    *(name for name in Settings.model_fields if name.startswith("s3_")),
}


def deployed_models(settings: Settings) -> list[str]:
    """A class each; the first is the service's default."""
    return settings.models or ["ltx-2b"]


def deployed_weights(settings: Settings) -> dict[str, Path]:
    """Weights that were named and lie on the Volume: a folder of this machine is none of theirs."""
    named = settings.weights.items()
    return {model: path for model, path in named if path.is_relative_to(WEIGHTS)}


def call_seconds(settings: Settings) -> int:
    """The longest run of an attempt that is a call on Modal, whose own limit lies just behind."""
    return max(3600, settings.job_timeout_seconds)


def deployed_environment(settings: Settings) -> dict[str, str]:
    """The environment for the containers of a deploy on Modal, without any secret."""
    of_theirs = {"models": deployed_models(settings), "weights": deployed_weights(settings)}
    settings = settings.model_copy(update=of_theirs)
    return {
        f"RUSHES_{name.upper()}": text
        for name, text in texts(settings).items()
        if text and name not in _NOT_DEPLOYED and not isinstance(getattr(settings, name), SecretStr)
    }
