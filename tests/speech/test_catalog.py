"""The voices of an installation, from all of its providers."""

import json
from pathlib import Path

import pytest

from service.domain.attempt import AttemptFailed, FailureKind
from service.speech.catalog import Catalog
from service.speech.elevenlabs_api import Account
from tests.speech.provider import KEY, VOICE, Reply, serve
from tests.speech.test_espeak import StandIn


def failure(catalog: Catalog, voice_id: str) -> AttemptFailed:
    with pytest.raises(AttemptFailed) as caught:
        catalog.find(voice_id)
    assert (caught.value.kind, caught.value.code) == (FailureKind.USER, "voice_unknown")
    return caught.value


def test_without_any_program_or_key_there_is_the_offline_voice() -> None:
    listing = Catalog().listing()

    assert [(voice.id, voice.provider) for voice in listing.voices] == [("hibari-heart", "hibari")]
    assert listing.problems == ()


def test_the_voices_of_all_providers_are_listed_and_found(tmp_path: Path) -> None:
    with serve() as provider:
        page = {"voices": [{"voice_id": VOICE, "name": "Rachel"}], "has_more": False}
        provider.respond = lambda _: Reply(body=json.dumps(page).encode())
        account = Account(KEY, 0.0, base_url=provider.url)
        catalog = Catalog(account, StandIn(tmp_path).path)

        voices = catalog.listing().voices

        assert [voice.id for voice in voices[:2]] == ["hibari-heart", "espeak-af"]
        assert voices[-1].id == f"elevenlabs-{VOICE}"
        for voice in voices:
            assert catalog.find(voice.id).id == voice.id
        assert len(provider.requests) == 1  # for the list


def test_a_voice_is_one_object_so_that_its_model_is_read_once() -> None:
    catalog = Catalog()

    assert catalog.find("hibari-heart") is catalog.find("hibari-heart")


@pytest.mark.parametrize(
    ("voice_id", "nearest"),
    [
        ("hibari-hart", "hibari-heart"),
        ("HIBARI-HEART", "hibari-heart"),
        ("espeak-en-gbr", "espeak-en-gb"),
        ("espeak-fr", "espeak-fr-fr"),
        ("x" * 5000, ""),
    ],
)
def test_an_unknown_voice_names_the_nearest(tmp_path: Path, voice_id: str, nearest: str) -> None:
    catalog = Catalog(None, StandIn(tmp_path).path)

    message = failure(catalog, voice_id).message

    assert f"the nearest is '{nearest}" in message
    assert len(message) < 300


def test_a_voice_of_elevenlabs_needs_a_key() -> None:
    assert "no API key" in failure(Catalog(), f"elevenlabs-{VOICE}").message


def test_a_provider_that_fails_hides_no_other(tmp_path: Path) -> None:
    with serve() as provider:
        account = Account("sk_wrong", 0.0, base_url=provider.url)
        catalog = Catalog(account, tmp_path / "espeak-ng")

        listing = catalog.listing()

    assert [voice.id for voice in listing.voices] == ["hibari-heart"]
    assert [problem.split(":")[0] for problem in listing.problems] == [
        "the worker's machine failed",
        "ElevenLabs answers 401",
    ]
