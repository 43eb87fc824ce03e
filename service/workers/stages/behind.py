"""Encoding in a thread of its own, so that a model need not wait for ffmpeg."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import Empty, Full, Queue
from typing import Any

from service.domain.attempt import WorkerStopping
from service.domain.request import VideoRequest
from service.workers.adapters.base import Frame
from service.workers.stages.encode import Encoded, encode

_LOOK_SECONDS = 0.05  # how soon one side sees that the other is gone


class Encoding:
    """One file that is written from the frames that it is given, while more are made.

    Leaving it as a context waits for nothing: what is not done by then is thrown away.
    """

    def __init__(
        self, request: VideoRequest, target: Path, provenance: dict[str, Any], *, ahead: int
    ) -> None:
        """`ahead` is how many frames may wait for ffmpeg; the next one waits for room."""
        self._frames: Queue[Frame | None] = Queue(maxsize=max(1, ahead))
        self._fault: BaseException | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="encode")
        self._file = self._pool.submit(encode, self._handed(), request, target, provenance)
        self._pool.shutdown(wait=False)

    def take(self, frames: Iterator[Frame]) -> None:
        """Until the last of them is handed over. Raises what `frames` does, and what `encode`
        does that could not go on."""
        try:
            for frame in frames:
                self._hand(frame)
            self._hand(None)
        except BaseException as fault:
            self._abandon(fault)
            raise

    def result(self) -> Encoded:
        """The finished file. Raises what `encode` does."""
        return self._file.result()

    def __enter__(self) -> "Encoding":
        return self

    def __exit__(self, *_: object) -> None:
        self._abandon(WorkerStopping())

    def _hand(self, frame: Frame | None) -> None:
        while True:
            with suppress(Full):
                self._frames.put(frame, timeout=_LOOK_SECONDS)
                return
            if self._file.done():
                self._file.result()  # it failed, or there would be room

    def _handed(self) -> Iterator[Frame]:
        while self._fault is None:
            with suppress(Empty):
                frame = self._frames.get(timeout=_LOOK_SECONDS)
                if frame is None:
                    return
                yield frame
        raise self._fault

    def _abandon(self, fault: BaseException) -> None:
        """End it, if it has not ended: no ffmpeg writes where nobody will look."""
        self._fault = fault
        self._file.exception()
