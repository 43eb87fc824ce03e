"""The program that checks a photo or a recording at the submit, run by
service/runtime/input_check.py.

Its arguments are `photo`, a file, a model, a width and a height; or `recording` and a file. It
prints a line of JSON: `warnings`, or a failure.
"""

import json
import sys
from pathlib import Path

from service.domain.attempt import AttemptFailed
from service.domain.avatar import MAX_AUDIO_SECONDS
from service.domain.models.catalog import CARDS
from service.programs import failure_line
from service.workers.stages.inputs.media import decode_speech
from service.workers.stages.portrait import read_face
from service.workers.stages.voice_activity import check_speech_heard

_MAX_BYTES = 1 << 32  # the limit of an upload is lower


def main() -> None:
    try:
        warnings = _check(*sys.argv[1:])
    except AttemptFailed as failure:
        sys.stdout.buffer.write(failure_line(failure))
        return
    sys.stdout.write(json.dumps({"warnings": warnings}))


def _check(kind: str, file: str, *of_photo: str) -> tuple[str, ...]:
    if kind == "recording":
        check_speech_heard(
            decode_speech(Path(file), max_bytes=_MAX_BYTES, max_seconds=MAX_AUDIO_SECONDS)
        )
        return ()
    model, width, height = of_photo
    return read_face(Path(file), CARDS[model], int(width), int(height), _MAX_BYTES).warnings


if __name__ == "__main__":
    main()
