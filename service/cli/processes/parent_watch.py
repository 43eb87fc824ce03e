"""End a child process when the supervisor ends, however it ended."""

import os
import signal
import sys
from threading import Thread


def end_with_parent() -> None:
    """Send SIGTERM to this process once its standard input, a pipe from its parent, closes."""
    Thread(target=_watch, name="lifeline", daemon=True).start()


def _watch() -> None:
    # Not sys.stdin.read: a waiting thread holds its lock, and Python would abort at exit.
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
