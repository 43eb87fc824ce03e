"""Encoding in a thread of its own, so that a model need not wait for ffmpeg."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from queue import Empty, Full, Queue
from typing import Any, TypeVar

from service.domain.attempt import WorkerStopping
from service.domain.request import VideoRequest
from service.workers.adapters.base import Frame
from service.workers.stages.encode import Encoded, Kill, encode

Heed = Callable[[], object]  # raises what tells an attempt to stop
T = TypeVar("T")

_LOOK_SECONDS = 0.05  # how soon one side sees that the other is gone


class Encoding:
    """One file that is written from the frames that it is given, while more are made.

    Leaving it as a context throws away what is not done by then, and ends its ffmpeg.
    """

    def __init__(
        self, request: VideoRequest, target: Path, provenance: dict[str, Any], *, ahead: int
    ) -> None:
        """`ahead` is how many frames may wait for ffmpeg; the next one waits for room."""
        self._frames: Queue[Frame | None] = Queue(maxsize=max(1, ahead))
        self._fault: BaseException | None = None
        self._kill: Kill | None = None
        pool = ThreadPoolExecutor(1, thread_name_prefix="encode")
        self._file = pool.submit(
            encode, self._handed(), request, target, provenance, started=self._started
        )
        pool.shutdown(wait=False)

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

    def result(self, check_cancel: Heed) -> Encoded:
        """The finished file. Raises what `encode` does, and what `check_cancel` does meanwhile."""
        return waited_for(self._file, check_cancel)

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

    def _started(self, kill: Kill) -> None:
        self._kill = kill
        if self._fault is not None:
            kill()

    def _abandon(self, fault: BaseException) -> None:
        """End it, if it has not ended: no ffmpeg writes where nobody will look."""
        self._fault = fault
        if self._kill is not None and not self._file.done():
            self._kill()
        self._file.exception()


def waited_for(future: Future[T], check_cancel: Heed) -> T:
    """Wait for the result of `future`, calling `check_cancel` now and then; raise what they do."""
    while wait([future], timeout=_LOOK_SECONDS).not_done:
        check_cancel()
    return future.result()
