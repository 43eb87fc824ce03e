"""A child of the supervisor ends when the supervisor does, however that ended."""

import os
import signal
import sys
from threading import Thread


def hold_on() -> None:
    """Stop this process by SIGTERM once its standard input, a pipe from its parent, closes."""
    Thread(target=_watch, name="lifeline", daemon=True).start()


def _watch() -> None:
    # Not through sys.stdin: a thread that waits in there holds its lock, and Python aborts at exit.
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
