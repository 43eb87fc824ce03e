"""The program of the offline voices, run by service/speech/offline.py.

With `--voices` it prints their descriptions as JSON. Else it reads a text as JSON and prints a line
of JSON, which is followed by the samples unless it tells a failure.
"""

import json
import sys
from dataclasses import asdict

from service.domain.attempt import AttemptFailed
from service.programs import failure_line
from service.speech.base import Spoken, unknown_voice
from service.speech.hibari import installed_voices
from service.speech.offline import LIST


def main() -> None:
    output = sys.stdout.buffer
    if LIST in sys.argv:
        infos = [asdict(voice.info) for voice in installed_voices()]
        output.write(json.dumps(infos).encode())
        return
    try:
        speech = _speak(**json.load(sys.stdin.buffer))
    except AttemptFailed as failure:
        output.write(failure_line(failure))
        return
    facts = asdict(speech)
    samples = facts.pop("samples")
    output.write(json.dumps(facts).encode() + b"\n" + samples)


def _speak(voice: str, text: str, seed: int, speed: float) -> Spoken:
    voices = {each.info.id: each for each in installed_voices()}
    if voice not in voices:
        raise unknown_voice(voice, voices)
    return voices[voice].speak(text, seed=seed, speed=speed)


if __name__ == "__main__":
    main()
