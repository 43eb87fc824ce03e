"""Check by a process of its own that a photo shows a face that can speak."""

import json
from collections.abc import Mapping
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

from service.programs import Program, raise_failure

_TIME = timedelta(seconds=60)


class PhotoCheck:
    """The check that a worker does, too: it decodes what a stranger sent. Thread-safe."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        module = "service.workers.stages.photo_check_program"
        self._program = Program(module, "the check of photos", environment)

    @property
    def is_available(self) -> bool:
        """Tell whether the packages are installed that find faces."""
        return all(find_spec(name) is not None for name in ("cv2", "ai_edge_litert"))

    def warnings(self, photo: Path) -> tuple[str, ...]:
        """Return what may look worse than it could. Raises AttemptFailed: user for a photo that
        cannot speak, and machine."""
        output = self._program.run([str(photo)], b"", _TIME)
        try:
            answer = json.loads(output)
            raise_failure(answer)
            return tuple(map(str, answer["warnings"]))
        except (ValueError, KeyError, TypeError):
            raise self._program.failure("gives an answer that cannot be read") from None
