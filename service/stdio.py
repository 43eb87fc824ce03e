"""Standard output and error that neither end nor hold up a process: perhaps nobody reads them."""

import atexit
import os
import select
import sys
from collections import deque
from io import TextIOBase
from threading import Condition, Thread

_MAX_BYTES = 1 << 20  # that wait for a reader; more is dropped
_DRAIN_SECONDS = 1.0


class Unblocked(TextIOBase):
    """Text for a descriptor, written by a thread of its own. What does not fit is dropped, and its
    amount is told once there is room again."""

    def __init__(self, descriptor: int, encoding: str = "utf-8") -> None:
        self._descriptor = descriptor
        self._encoding = encoding
        self._waiting: deque[bytes] = deque()  # the first is being written
        self._size_bytes = self._dropped_bytes = 0
        self._changed = Condition()
        Thread(target=self._write_on, name=f"stdio-{descriptor}", daemon=True).start()

    @property
    def encoding(self) -> str:  # type: ignore[override]  # of a descriptor it does not change
        return self._encoding

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, text: str) -> int:
        block = text.encode(self._encoding, "replace")
        with self._changed:
            if self._size_bytes + len(block) > _MAX_BYTES:
                self._dropped_bytes += len(block)
                return len(text)
            if self._dropped_bytes:
                block = b"(%d bytes were dropped: nobody read)\n" % self._dropped_bytes + block
                self._dropped_bytes = 0
            self._waiting.append(block)
            self._size_bytes += len(block)
            self._changed.notify_all()
        return len(text)

    def drain(self, seconds: float) -> None:
        """Wait until all is written, so long at most."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting, seconds)

    def _write_on(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                block = self._waiting[0]
            self._put(block)
            with self._changed:
                self._waiting.popleft()
                self._size_bytes -= len(block)
                self._changed.notify_all()

    def _put(self, block: bytes) -> None:
        while block:
            try:
                block = block[os.write(self._descriptor, block) :]
            except BlockingIOError:  # whoever shares the descriptor made it so
                select.select([], [self._descriptor], [])
            except OSError:
                return  # the reader is gone for good


def unblock() -> None:
    """From here on whatever Python prints or logs waits for no reader. What still waits at the end
    of the process is given a moment."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        try:
            descriptor = stream.fileno()
        except (AttributeError, OSError):
            continue  # closed, or no file at all
        setattr(sys, name, Unblocked(descriptor, stream.encoding))
    atexit.register(drain)


def drain() -> None:
    """Before a process ends at once: let what was told get out, if anybody reads it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, Unblocked):
            stream.drain(_DRAIN_SECONDS)
