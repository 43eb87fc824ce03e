"""Voices of espeak-ng, on a stand-in that behaves as the program does, and on it where it is."""

import json
import os
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from service.domain.attempt import AttemptFailed, FailureKind
from service.speech.espeak import EspeakVoice, espeak_program, espeak_voices
from tests.speech.sound import levels

# A few lines as the program prints them.
VOICES = """\
Pty Language       Age/Gender VoiceName          File                 Other Languages
 5  af              --/M      Afrikaans          gmw/af
 5  cmn             --/M      Chinese_(Mandarin,_latin_as_English) sit/cmn   (zh-cmn 5)(zh 5)
 2  en-gb           --/M      English_(Great_Britain) gmw/en               (en 2)
 2  en-us           --/M      English_(America)  gmw/en-US            (en 3)
 4  en-us           --/F      English_(Other)    gmw/en-US-other
 5  fr-fr           --/F      French_(France)    roa/fr               (fr 5)
 5  tt              -/-       Tatar              trk/tt
"""
# Half a second of a tone for each word; the header's length is the one the program writes when it
# does not know it yet.
PROGRAM = """\
#!{python} -I
import json, math, os, struct, sys
from pathlib import Path
arguments = sys.argv[1:]
if arguments == ["--voices"]:
    print({voices!r}, end="")
    sys.exit()
text = sys.stdin.buffer.read()
start = {{"arguments": arguments, "text": text.decode(), "environment": dict(os.environ)}}
Path({log!r}).write_text(json.dumps(start))
{misbehave}
rate, count = 22050, 11025 * len(text.split())
head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 0x7ffff024, b"WAVE", b"fmt ", 16, 1, 1, rate,
                   2 * rate, 2, 16, b"data", 0x7ffff000)
tone = [int(9000 * math.sin(n / 20)) for n in range(count)]
sys.stdout.buffer.write(head + struct.pack("<%dh" % count, *tone))
"""


class StandIn:
    """The stand-in program in a folder, and what it was started with."""

    def __init__(self, folder: Path, misbehave: str = "") -> None:
        self.path = folder / "espeak-ng"
        self._log = folder / "log.json"
        script = PROGRAM.format(
            python=sys.executable, voices=VOICES, log=str(self._log), misbehave=misbehave
        )
        self.path.write_text(script)
        self.path.chmod(0o755)

    def start(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self._log.read_text())
        return found


def failure(program: Path, text: str = "Hello", time: float = 20) -> AttemptFailed:
    voice = EspeakVoice(program, "en-us", "English", time=timedelta(seconds=time))
    with pytest.raises(AttemptFailed) as caught:
        voice.speak(text, seed=1, speed=1.0)
    return caught.value


def test_the_voices_are_listed_by_language(tmp_path: Path) -> None:
    voices = {voice.info.id: voice.info for voice in espeak_voices(StandIn(tmp_path).path)}

    assert list(voices) == [
        f"espeak-{language}" for language in ("af", "cmn", "en-gb", "en-us", "fr-fr", "tt")
    ]
    assert voices["espeak-en-us"].name == "English (America)"  # the program's first choice
    assert voices["espeak-en-us"].language == "en-us"
    assert voices["espeak-fr-fr"].gender == "female"
    assert voices["espeak-tt"].gender == ""
    assert not voices["espeak-tt"].has_words


def test_a_text_is_spoken_without_times(tmp_path: Path) -> None:
    voice = EspeakVoice(StandIn(tmp_path).path, "en-us", "English")

    speech = voice.speak("two words", seed=1, speed=1.0)

    assert speech.rate == 22_050
    assert speech.seconds == 1.0
    assert levels(speech).max() == pytest.approx(9000 / 32768, abs=0.001)
    assert speech.words == ()
    assert speech.phones is None


def test_the_text_is_no_argument_and_the_environment_is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "s3cret")
    stand_in = StandIn(tmp_path)

    EspeakVoice(stand_in.path, "fr-fr", "French").speak("-w /etc/x [[h]] été", seed=1, speed=2.0)

    start = stand_in.start()
    assert start["text"] == "-w /etc/x [ [h]] été"
    assert start["arguments"] == "-v fr-fr -s 330 -b 1 --stdin --stdout".split()
    assert set(dict(start["environment"])) <= {"LC_CTYPE"}  # type: ignore[call-overload]


def test_a_program_that_does_not_end_fails_by_the_machine(tmp_path: Path) -> None:
    stand_in = StandIn(tmp_path, misbehave="import time; time.sleep(60)")

    refusal = failure(stand_in.path, time=0.5)

    assert (refusal.kind, refusal.code) == (FailureKind.MACHINE, "machine_fault")
    assert "does not end" in refusal.message


def test_a_program_ends_once_its_speech_is_not_wanted(tmp_path: Path) -> None:
    file = tmp_path / "process"
    misbehave = f"Path({str(file)!r}).write_text(f'{{os.getpid()}}.'); import time; time.sleep(600)"
    voice = EspeakVoice(StandIn(tmp_path, misbehave).path, "en-us", "English")

    def is_wanted() -> bool:
        return not (file.exists() and file.read_text().endswith("."))

    with pytest.raises(AttemptFailed, match="nobody waits for it"):
        voice.speak("Hello", seed=1, speed=1.0, is_wanted=is_wanted)

    with pytest.raises(ProcessLookupError):
        os.kill(int(file.read_text()[:-1]), 0)


@pytest.mark.parametrize(
    ("misbehave", "reason"),
    [
        ("sys.exit('no voice data')", "exits with 1: no voice data"),
        ("sys.exit(0)", "returns no WAV"),
        ("os.kill(os.getpid(), 9)", "exits with -9"),
    ],
)
def test_a_program_that_fails_is_the_machines_fault(
    tmp_path: Path, misbehave: str, reason: str
) -> None:
    refusal = failure(StandIn(tmp_path, misbehave).path)

    assert refusal.kind == FailureKind.MACHINE
    assert reason in refusal.message


def test_a_missing_program_is_the_machines_fault(tmp_path: Path) -> None:
    refusal = failure(tmp_path / "espeak-ng")

    assert refusal.kind == FailureKind.MACHINE
    assert "does not start" in refusal.message
    assert str(tmp_path) not in refusal.message


def test_a_text_without_a_sound_is_the_users_fault(tmp_path: Path) -> None:
    stand_in = StandIn(tmp_path, misbehave="text = b''")

    refusal = failure(stand_in.path, "你好")

    assert (refusal.kind, refusal.code) == (FailureKind.USER, "text_without_words")


@pytest.mark.parametrize("text", ["", " ", "?!", "x" * 5001])
def test_a_text_that_cannot_be_spoken_starts_no_program(tmp_path: Path, text: str) -> None:
    assert failure(tmp_path / "none", text).kind == FailureKind.USER


@pytest.mark.skipif(espeak_program() is None, reason="espeak-ng is not installed")
def test_the_program_itself_speaks() -> None:
    program = espeak_program()
    assert program is not None
    voices = {voice.info.id: voice for voice in espeak_voices(program)}

    speech = voices["espeak-de"].speak("Guten Morgen, liebe Welt.", seed=1, speed=1.0)

    assert len(voices) > 50
    assert 0.8 < speech.seconds < 5
    assert np.abs(levels(speech)).max() > 0.05
