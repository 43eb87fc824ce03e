"""The voices of an installation, from all of its providers."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Event

import pytest

from service.domain.attempt import AttemptFailed, FailureKind
from service.programs import Program
from service.speech.base import ProviderBusy, Voice, VoiceInfo
from service.speech.catalog import Catalog
from service.speech.elevenlabs import ElevenLabs
from service.speech.elevenlabs_api import Account
from service.speech.hibari import HibariVoice
from service.speech.offline import OfflineVoice, OfflineVoices
from tests.speech.provider import KEY, VOICE, Reply, Request, problem, serve
from tests.speech.test_espeak import StandIn

REQUEST = {"voice": "hibari-heart", "text": "Hello", "seed": 1, "speed": 1.0}


def catalog(espeak: Path | None = None, account: Account | None = None) -> Catalog:
    providers = [] if account is None else [ElevenLabs(account)]
    return Catalog(OfflineVoices(dict(os.environ)), espeak, providers)


def broken(content: str, seconds: float = 60) -> OfflineVoices:
    """Offline voices whose program is another one."""
    voices = OfflineVoices({}, timedelta(seconds=seconds))
    environment = {"MISBEHAVE": content}
    voices._program = Program("tests.misbehaving_program", "the offline voice", environment)
    return voices


def failure(catalog: Catalog, voice_id: str) -> AttemptFailed:
    with pytest.raises(AttemptFailed) as caught:
        catalog.find(voice_id)
    assert (caught.value.kind, caught.value.code) == (FailureKind.USER, "voice_unknown")
    return caught.value


def test_without_any_program_or_key_there_is_the_offline_voice() -> None:
    listing = catalog().listing()

    assert [(voice.id, voice.provider) for voice in listing.voices] == [("hibari-heart", "hibari")]
    assert listing.problems == ()


def test_the_voices_of_all_providers_are_listed_and_found(tmp_path: Path) -> None:
    with serve() as provider:
        page = {"voices": [{"voice_id": VOICE, "name": "Rachel"}], "has_more": False}
        provider.respond = lambda _: Reply(body=json.dumps(page).encode())
        account = Account(KEY, 0.0, base_url=provider.url)
        voices = catalog(StandIn(tmp_path).path, account)

        listed = voices.listing().voices

        assert [voice.id for voice in listed[:2]] == ["hibari-heart", "espeak-af"]
        assert listed[-1].id == f"elevenlabs-{VOICE}"
        for voice in listed:
            assert voices.find(voice.id).info.id == voice.id
        assert voices.listing().voices == listed
        assert len(provider.requests) == 1  # for the list, which is kept for a minute


def test_a_list_that_hangs_holds_up_nobody_else(tmp_path: Path) -> None:
    page = Reply(body=json.dumps({"voices": [{"voice_id": VOICE}], "has_more": False}).encode())
    asked, over = Event(), Event()
    waits = [over.wait, over.wait]

    def respond(_: Request) -> Reply:
        asked.set()
        return page if waits.pop()(30) else problem(500, "nobody went on")

    with serve() as provider, ThreadPoolExecutor(1) as pool:
        provider.respond = respond
        voices = catalog(account=Account(KEY, 0.0, base_url=provider.url))

        first = pool.submit(voices.listing)
        assert asked.wait(30)
        meanwhile = voices.listing()
        with pytest.raises(ProviderBusy, match="is listing its voices"):
            voices.listed(f"elevenlabs-{VOICE}")
        assert voices.listed("hibari-heart") is not None
        assert voices.listed("hibari-hart") is None
        over.set()

        assert [voice.id for voice in meanwhile.voices] == ["hibari-heart"]
        assert meanwhile.problems == ("ElevenLabs is listing its voices: try again",)
        assert [voice.id for voice in first.result().voices[1:]] == [f"elevenlabs-{VOICE}"]

        over.clear()
        asked.clear()
        voices._accounts[0]._until = 0.0
        again = pool.submit(voices.listing)
        assert asked.wait(30)
        assert voices.listing() == first.result()  # as it was before
        over.set()
        assert again.result() == first.result()


def test_voices_that_were_listed_stay_while_their_provider_fails() -> None:
    page = Reply(body=json.dumps({"voices": [{"voice_id": VOICE}], "has_more": False}).encode())
    with serve() as provider:
        provider.respond = lambda _: page
        voices = catalog(account=Account(KEY, 0.0, base_url=provider.url))
        before = voices.listing()
        provider.respond = lambda _: problem(503, "later")
        voices._accounts[0]._until = 0.0

        after = voices.listing()

    assert after.voices == before.voices
    assert after.problems == ("ElevenLabs answers 503: later",)


def test_the_offline_voice_speaks_as_its_model_does(heart: HibariVoice) -> None:
    text = "The quick brown fox paid $9.99."

    spoken = catalog().find(None).speak(text, seed=3, speed=1.2)

    assert spoken == heart.speak(text, seed=3, speed=1.2)


def test_what_the_offline_voice_cannot_speak_is_the_users_fault() -> None:
    with pytest.raises(AttemptFailed) as caught:
        catalog().find("hibari-heart").speak("你好世界", seed=1, speed=1.0)

    assert (caught.value.kind, caught.value.code) == (FailureKind.USER, "text_without_words")


def test_the_model_stays_out_of_this_process() -> None:
    """The API process answers requests meanwhile."""
    code = (
        "import os, sys; from service.speech.catalog import machine_catalog; "
        "voice = machine_catalog(dict(os.environ)).find('hibari-heart'); "
        "assert voice.speak('Hello.', seed=1, speed=1.0).samples; "
        "assert not {'numpy', 'onnxruntime', 'hibari'} & sys.modules.keys()"
    )

    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("raise SystemExit('no model')", "exits with 1: no model"),
        ("print('hello')", "gives an answer that cannot be read"),
    ],
    ids=["exits", "babbles"],
)
def test_a_program_that_fails_is_the_machines_fault(program: str, reason: str) -> None:
    with pytest.raises(AttemptFailed) as caught:
        broken(program).speak(REQUEST)

    assert (caught.value.kind, caught.value.code) == (FailureKind.MACHINE, "machine_fault")
    assert reason in caught.value.message


def test_a_text_that_takes_too_long_is_the_users_fault() -> None:
    """No retry would help."""
    with pytest.raises(AttemptFailed) as caught:
        broken("import time; time.sleep(600)", seconds=2).speak(REQUEST)

    assert (caught.value.kind, caught.value.code) == (FailureKind.USER, "text_not_readable")
    assert "within 2 s; send a shorter" in caught.value.message


def test_a_program_ends_once_its_speech_is_not_wanted(tmp_path: Path) -> None:
    file = tmp_path / "process"
    content = (
        "import os, time; from pathlib import Path; "
        f"Path({str(file)!r}).write_text(f'{{os.getpid()}}.'); time.sleep(600)"
    )

    def is_wanted() -> bool:
        return not (file.exists() and file.read_text().endswith("."))

    info = VoiceInfo(id="hibari-heart", name="Heart", language="en-US", provider="hibari")
    voice = OfflineVoice(info, broken(content, seconds=500))
    with pytest.raises(AttemptFailed, match="nobody waits for it"):
        voice.speak("Hello", seed=1, speed=1.0, is_wanted=is_wanted)

    with pytest.raises(ProcessLookupError):
        os.kill(int(file.read_text()[:-1]), 0)


def test_voices_that_could_not_be_listed_are_looked_for_again() -> None:
    voices = broken("raise SystemExit('no memory')")
    later = Catalog(voices)

    with pytest.raises(AttemptFailed, match="no memory") as caught:
        later.find(None)
    voices._program = OfflineVoices(dict(os.environ))._program

    assert caught.value.kind is FailureKind.MACHINE
    assert later.find(None).info.id == "hibari-heart"


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
    message = failure(catalog(StandIn(tmp_path).path), voice_id).message

    assert f"the nearest is '{nearest}" in message
    assert len(message) < 300


def test_a_voice_of_elevenlabs_needs_a_key() -> None:
    assert "no API key" in failure(catalog(), f"elevenlabs-{VOICE}").message


def test_an_id_as_elevenlabs_writes_it_is_told_how_to_be_written() -> None:
    voices = catalog(account=Account(KEY, 0.0))

    assert f"of ElevenLabs is written 'elevenlabs-{VOICE}'" in failure(voices, VOICE).message
    assert voices.find(f"elevenlabs-{VOICE}").info.own_id == VOICE


class Parrots:
    """Another provider, whose voices are those of this machine under its own ids."""

    name, prefix = "Parrots", "parrot-"

    def is_own_id(self, text: str) -> bool:
        return text == "polly"

    def voice(self, own_id: str) -> Voice:
        info = VoiceInfo(f"parrot-{own_id}", own_id, "en", "hibari", own_id=own_id)
        return OfflineVoice(info, OfflineVoices(dict(os.environ)))

    def voices(self) -> list[Voice]:
        return [self.voice("polly")]


def test_another_provider_is_listed_and_found_by_its_prefix() -> None:
    voices = Catalog(OfflineVoices({}), None, [Parrots(), ElevenLabs(Account(KEY, 0.0))])

    listed = voices.listed("parrot-polly")

    assert listed is not None
    assert voices.find("parrot-polly").info == listed
    assert "of Parrots is written 'parrot-polly'" in failure(voices, "polly").message
    assert voices.find(f"elevenlabs-{VOICE}").info.provider == "elevenlabs"


def test_a_provider_that_fails_hides_no_other(tmp_path: Path) -> None:
    with serve() as provider:
        account = Account("sk_wrong", 0.0, base_url=provider.url)

        listing = catalog(tmp_path / "espeak-ng", account).listing()

    assert [voice.id for voice in listing.voices] == ["hibari-heart"]
    assert [problem.split(":")[0] for problem in listing.problems] == [
        "the machine of the service failed",
        "the key of this service (ELEVENLABS_API_KEY) is refused",
    ]
