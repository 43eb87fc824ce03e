"""Check by a process of its own that a photo shows a face that can speak, a recording a voice."""

import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from service.domain.models.card import ModelCard
from service.installation import missing_modules
from service.programs import Program, raise_failure

_TIME = timedelta(seconds=60)


class InputCheck:
    """The checks that a worker does, too: they decode what a stranger sent. Thread-safe.

    Each method raises AttemptFailed: user for a file that cannot be used, and machine.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        module = "service.workers.stages.input_check_program"
        self._program = Program(module, "the check of photos and recordings", environment)

    @property
    def finds_faces(self) -> bool:
        """Tell whether the packages are installed that find faces."""
        return not missing_modules("avatar")

    def photo(self, file: Path, card: ModelCard, width: int, height: int) -> tuple[str, ...]:
        """Return what may look worse than it could in a video of that size by that model."""
        return self._run("photo", str(file), card.name, str(width), str(height))

    def recording(self, file: Path) -> None:
        """Check that somebody speaks, and neither too short nor too long."""
        self._run("recording", str(file))

    def _run(self, *arguments: str) -> tuple[str, ...]:
        output = self._program.run(arguments, b"", _TIME)
        try:
            answer = json.loads(output)
            raise_failure(answer)
            return tuple(map(str, answer["warnings"]))
        except (ValueError, KeyError, TypeError):
            raise self._program.failure("gives an answer that cannot be read") from None
