"""Derive a Modal deployment from the settings: models, weights, limits and environment."""

from pathlib import Path

from pydantic import SecretStr

from service.domain.models.card import ModelCard
from service.domain.models.cards.longcat import longcat_card
from service.domain.models.catalog import CARDS, LONGCAT
from service.environment import setting_texts
from service.settings import Settings

API_INPUTS = 100  # concurrent requests of one API container
WEIGHTS = Path("/weights")  # mount point of the weights Volume

# Settings of this machine only, or passed by a Secret.
_NOT_DEPLOYED = {
    *("host", "port", "data_dir", "database_url", "workers", "dispatch", "log_format", "failpoint"),
    *("compiled_dir", "hung_after_seconds", "syncnet"),
    "modal_environment",  # containers use the environment they were deployed to
    *(name for name in Settings.model_fields if name.startswith("s3_")),
}


def deployed_models(settings: Settings) -> list[str]:
    """Return the models to deploy, a class each; the first is the default."""
    return settings.models or ["ltx-2b"]


def deployed_weights(settings: Settings) -> dict[str, Path]:
    """Return the configured weights that are on the Volume; local folders are dropped."""
    items = settings.weights.items()
    return {model: path for model, path in items if path.is_relative_to(WEIGHTS)}


def served_card(settings: Settings, model: str) -> ModelCard:
    """Return the card of a model, with the weights that the settings name."""
    if model != LONGCAT.name:
        return CARDS[model]
    return longcat_card(
        settings.longcat_repo,
        settings.longcat_revision,
        settings.longcat_base_revision,
        int8=settings.quantize == "int8-weights",
    )


def call_seconds(settings: Settings) -> int:
    """Return the maximum duration of an attempt on Modal, in seconds."""
    return max(3600, settings.job_timeout_seconds)


def deployed_environment(settings: Settings) -> dict[str, str]:
    """Return the environment of the containers of a deployment, without secrets."""
    update = {"models": deployed_models(settings), "weights": deployed_weights(settings)}
    settings = settings.model_copy(update=update)
    return {
        f"RUSHES_{name.upper()}": text
        for name, text in setting_texts(settings).items()
        if text and name not in _NOT_DEPLOYED and not isinstance(getattr(settings, name), SecretStr)
    }
