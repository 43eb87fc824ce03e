"""The program that checks a photo before it is kept, run by service/runtime/photo_check.py.

Its argument is a file. It prints a line of JSON: `warnings`, or a failure.
"""

import json
import sys
from pathlib import Path

from service.domain.attempt import AttemptFailed
from service.domain.models.catalog import PUPPET
from service.programs import failure_line
from service.workers.stages.portrait import read_face

_MAX_BYTES = 1 << 25  # the limit of an upload is lower


def main() -> None:
    try:
        size = (PUPPET.default_width, PUPPET.default_height)
        warnings = read_face(Path(sys.argv[1]), PUPPET, *size, _MAX_BYTES).warnings
    except AttemptFailed as failure:
        sys.stdout.buffer.write(failure_line(failure))
        return
    sys.stdout.write(json.dumps({"warnings": warnings}))


if __name__ == "__main__":
    main()
