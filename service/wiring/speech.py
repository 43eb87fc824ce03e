"""Settings to the voices of this service."""

from service.domain.errors import Unavailable
from service.environment import tool_environment
from service.settings import Settings
from service.speech.catalog import Catalog, machine_catalog
from service.speech.elevenlabs_api import Account


def catalog(settings: Settings) -> Catalog:
    """Return the voices of this machine, and of the account of the settings."""
    return machine_catalog(tool_environment(), account(settings))


def account(settings: Settings) -> Account | None:
    """Return the account with ElevenLabs; None without a key of it."""
    key = settings.elevenlabs_api_key
    if key is None:
        return None
    try:
        return Account(
            key.get_secret_value(),
            usd_per_character=settings.elevenlabs_usd_per_1000_characters / 1000,
            base_url=settings.elevenlabs_url,
            model_id=settings.elevenlabs_model,
        )
    except ValueError as error:
        raise Unavailable(f"{error} (ELEVENLABS_API_KEY, RUSHES_ELEVENLABS_URL)") from None
