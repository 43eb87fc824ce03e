"""The voices of hibari in processes of their own, whose model takes a core and up to 370 MB."""

import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from importlib.util import find_spec
from typing import Any

from pydantic import TypeAdapter, ValidationError

from service.programs import Program, ProgramTimeout, raise_failure
from service.speech.base import (
    InformedVoice,
    Spoken,
    VoiceInfo,
    text_failure,
)

LIST = "--voices"
_LIST_TIME = timedelta(seconds=60)
_SPEAK_TIME = timedelta(seconds=180)  # the longest text takes about 4 s of a core


class OfflineVoices:
    """Finds the voices of hibari that are on this machine, and runs the program that has them."""

    def __init__(self, environment: Mapping[str, str], time: timedelta = _SPEAK_TIME) -> None:
        """`environment` is the program's own; `time` is a text's limit."""
        self._program = Program("service.speech.hibari_program", "the offline voice", environment)
        self._time = time

    def voices(self) -> list["OfflineVoice"]:
        """Return the voices; none where the packages are not installed. Raises AttemptFailed
        (machine)."""
        if find_spec("hibari") is None or find_spec("onnxruntime") is None:
            return []
        output = self._program.run([LIST], b"", _LIST_TIME)
        return [OfflineVoice(info, self) for info in self._parse(list[VoiceInfo], output)]

    def speak(
        self, request: Mapping[str, Any], is_wanted: Callable[[], bool] | None = None
    ) -> Spoken:
        """Run the program for a text. Raises AttemptFailed as it reports, user if it takes too
        long, or machine."""
        content = json.dumps(request).encode()
        try:
            output = self._program.run([], content, self._time, is_wanted)
        except ProgramTimeout:
            limit = f"{self._time.total_seconds():g} s"
            message = f"the offline voice cannot read the text to speak within {limit}"
            reason = f"{message}; send a shorter or simpler one"
            raise text_failure("text_not_readable", reason) from None
        head, _, samples = output.partition(b"\n")
        facts = self._parse(dict[str, Any], head)
        raise_failure(facts)
        speech: Spoken = TypeAdapter(Spoken).validate_python({**facts, "samples": samples})
        return speech

    def _parse(self, kind: Any, output: bytes) -> Any:
        try:
            return TypeAdapter(kind).validate_json(output)
        except ValidationError:
            raise self._program.failure("gives an answer that cannot be read") from None


class OfflineVoice(InformedVoice):
    """A voice of hibari, spoken by a process that ends with the text.

    One seed gives one sound, bit for bit, on one machine.
    """

    def __init__(self, info: VoiceInfo, voices: OfflineVoices) -> None:
        super().__init__(info)
        self._voices = voices

    def speak(
        self, text: str, *, seed: int, speed: float, is_wanted: Callable[[], bool] | None = None
    ) -> Spoken:
        """Speak an English text; see Voice. Words of other scripts are passed over."""
        self.check(text, speed)
        request = {"voice": self.info.id, "text": text, "seed": seed, "speed": speed}
        return self._voices.speak(request, is_wanted)
