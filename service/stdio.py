"""Non-blocking standard output and error: an unread pipe must not block the process."""

import atexit
import os
import select
import sys
from collections import deque
from io import TextIOBase
from threading import Condition, Thread

_MAX_BYTES = 1 << 20  # buffered for a reader; more is dropped
_DRAIN_SECONDS = 1.0


class NonBlockingStream(TextIOBase):
    """A text stream whose own thread writes to a descriptor. Text beyond the buffer is dropped, and
    the number of dropped bytes is written later."""

    def __init__(self, descriptor: int, encoding: str = "utf-8") -> None:
        self._descriptor = descriptor
        self._encoding = encoding
        self._waiting: deque[bytes] = deque()  # the first is being written
        self._size_bytes = self._dropped_bytes = 0
        self._changed = Condition()
        Thread(target=self._write_loop, name=f"stdio-{descriptor}", daemon=True).start()

    @property
    def encoding(self) -> str:  # type: ignore[override]  # read-only here
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
        """Wait until the buffer is written, at most `seconds`."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting, seconds)

    def _write_loop(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                block = self._waiting[0]
            self._write_block(block)
            with self._changed:
                self._waiting.popleft()
                self._size_bytes -= len(block)
                self._changed.notify_all()

    def _write_block(self, block: bytes) -> None:
        while block:
            try:
                block = block[os.write(self._descriptor, block) :]
            except BlockingIOError:  # set by another process that shares the descriptor
                select.select([], [self._descriptor], [])
            except OSError:
                return  # the reader is gone


def make_nonblocking() -> None:
    """Replace stdout and stderr by non-blocking streams, which are drained at exit."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        try:
            descriptor = stream.fileno()
        except (AttributeError, OSError):
            continue  # closed, or not a file
        setattr(sys, name, NonBlockingStream(descriptor, stream.encoding))
    atexit.register(drain)


def drain() -> None:
    """Write the buffered output, at most 1 s; call this before `os._exit`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, NonBlockingStream):
            stream.drain(_DRAIN_SECONDS)
