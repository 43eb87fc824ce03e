"""A child of the supervisor ends when the supervisor does, however that ended."""

import os
import signal
import sys
from threading import Thread


def hold_on() -> None:
    """Stop this process by SIGTERM once its standard input, a pipe from its parent, closes."""
    Thread(target=_watch, name="lifeline", daemon=True).start()


def _watch() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)
