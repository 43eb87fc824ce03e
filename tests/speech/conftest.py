import pytest

from service.speech.hibari import HibariVoice, installed_voices


@pytest.fixture(scope="session")
def heart() -> HibariVoice:
    """The voice that comes with hibari's package."""
    return installed_voices()[0]
