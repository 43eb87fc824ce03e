"""Voices of espeak-ng, run as a program where it is installed: robotic, in about 100 languages."""

import io
import re
import shutil
import wave
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

from service.domain.attempt import AttemptFailed
from service.programs import machine_failure, run
from service.speech.base import (
    InformedVoice,
    Spoken,
    VoiceInfo,
    text_failure,
)

PROGRAM = "espeak-ng"
PREFIX = "espeak-"
_WORDS_PER_MINUTE = 165  # at a speed of 1
_MIN_SPEED, _MAX_SPEED = 0.5, 2.0  # 82 to 330 words per minute; the program takes 80 to 450
_LIST_TIME = timedelta(seconds=10)
_SPEAK_TIME = timedelta(seconds=120)
# A line of --voices: priority, language, age/gender, name, file.
_LINE = re.compile(r"\s*\d+\s+(?P<language>\S+)\s+\S*?(?P<gender>[MF-])\s+(?P<name>\S+)\s+\S+")
_GENDERS = {"M": "male", "F": "female"}


class EspeakVoice(InformedVoice):
    """A voice of espeak-ng. It tells no times. The seed changes nothing: each text has one sound.

    The program (GPL-3) is not linked; it is run once a text, with an empty environment.
    """

    def __init__(
        self,
        program: Path,
        language: str,
        name: str,
        gender: str = "",
        time: timedelta = _SPEAK_TIME,
    ) -> None:
        """`language` is an identifier of the program's own list; `time` is a text's limit."""
        super().__init__(
            VoiceInfo(
                id=f"{PREFIX}{language}",
                name=name,
                language=language,
                provider="espeak",
                gender=gender,
                min_speed=_MIN_SPEED,
                max_speed=_MAX_SPEED,
            )
        )
        self._program = program
        self._time = time

    def speak(
        self, text: str, *, seed: int, speed: float, is_wanted: Callable[[], bool] | None = None
    ) -> Spoken:
        """Speak a text; see Voice. Fails as machine where the program does not run."""
        self.check(text, speed)
        pace = str(round(_WORDS_PER_MINUTE * speed))
        options = ["-v", self.info.language, "-s", pace, "-b", "1", "--stdin", "--stdout"]
        # The program reads double brackets as its own phonemes.
        content = text.replace("[[", "[ [").encode()
        samples, rate = _samples(_run(self._program, options, content, self._time, is_wanted))
        if not any(samples):
            info = self.info
            message = f"the voice {info.id} has no sound for this text: it reads {info.language}"
            raise text_failure("text_without_words", message)
        return Spoken(samples, rate)


def espeak_program() -> Path | None:
    """Return the program's path, or None where it is not installed."""
    path = shutil.which(PROGRAM)
    return Path(path) if path else None


def espeak_voices(program: Path) -> list[EspeakVoice]:
    """Return a voice for each language of the program. Raises AttemptFailed (machine)."""
    output = _run(program, ["--voices"], b"", _LIST_TIME).decode(errors="replace")
    voices: dict[str, EspeakVoice] = {}
    for match in filter(None, map(_LINE.match, output.splitlines())):
        language, name = match["language"], match["name"].replace("_", " ")
        voice = EspeakVoice(program, language, name, _GENDERS.get(match["gender"], ""))
        voices.setdefault(language, voice)  # the first is the program's own choice
    return list(voices.values())


def _run(
    program: Path,
    options: Sequence[str],
    content: bytes,
    time: timedelta,
    is_wanted: Callable[[], bool] | None = None,
) -> bytes:
    """Run the program; see programs.run. Raises AttemptFailed (machine)."""
    return run([str(program), *options], content, time, {}, _machine_failure, is_wanted)


def _samples(content: bytes) -> tuple[bytes, int]:
    """Decode the program's output: mono, 16 bit, with a length that it does not know at the start.

    Raises AttemptFailed (machine).
    """
    try:
        with wave.open(io.BytesIO(content)) as file:
            rate, form = file.getframerate(), (file.getnchannels(), file.getsampwidth())
            data = file.readframes(len(content))
    except (wave.Error, EOFError) as error:
        raise _machine_failure(f"returns no WAV: {error}") from None
    if form != (1, 2):
        raise _machine_failure("returns a WAV that is not mono of 16 bits")
    return data, rate


def _machine_failure(reason: str) -> AttemptFailed:
    return machine_failure(f"{PROGRAM} {reason}")
