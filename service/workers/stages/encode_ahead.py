"""Encoding in a background thread, so that the model does not wait for ffmpeg."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from queue import Empty, Full, Queue
from typing import Any, TypeVar

from service.domain.attempt import WorkerStopping
from service.workers.adapters.base import Frame, Shape
from service.workers.stages.encode import EncodedVideo, Kill, encode

CheckCancel = Callable[[], object]  # raises the exception that ends the attempt
T = TypeVar("T")

_POLL_SECONDS = 0.05  # how soon one side notices that the other has ended


class BackgroundEncoder:
    """Encodes one file while its frames are generated.

    Leaving it as a context cancels unfinished encoding and kills its ffmpeg.
    """

    def __init__(
        self, request: Shape, target: Path, provenance: dict[str, Any], *, ahead: int
    ) -> None:
        """At most `ahead` frames are queued for ffmpeg; then `write` blocks."""
        self._frames: Queue[Frame | None] = Queue(maxsize=max(1, ahead))
        self._fault: BaseException | None = None
        self._kill: Kill | None = None
        pool = ThreadPoolExecutor(1, thread_name_prefix="encode")
        self._file = pool.submit(
            encode, self._queued_frames(), request, target, provenance, on_start=self._set_kill
        )
        pool.shutdown(wait=False)

    def write(self, frames: Iterator[Frame]) -> None:
        """Queue all frames. Raises the exceptions of `frames` and of `encode`."""
        try:
            for frame in frames:
                self._queue(frame)
            self._queue(None)
        except BaseException as fault:
            self._abandon(fault)
            raise

    def result(self, check_cancel: CheckCancel) -> EncodedVideo:
        """Wait for the finished file. Raises the exceptions of `encode` and `check_cancel`."""
        return wait_for_result(self._file, check_cancel)

    def __enter__(self) -> "BackgroundEncoder":
        return self

    def __exit__(self, *_: object) -> None:
        self._abandon(WorkerStopping())

    def _queue(self, frame: Frame | None) -> None:
        while True:
            with suppress(Full):
                self._frames.put(frame, timeout=_POLL_SECONDS)
                return
            if self._file.done():
                self._file.result()  # raises: the queue is full because encoding failed

    def _queued_frames(self) -> Iterator[Frame]:
        while self._fault is None:
            with suppress(Empty):
                frame = self._frames.get(timeout=_POLL_SECONDS)
                if frame is None:
                    return
                yield frame
        raise self._fault

    def _set_kill(self, kill: Kill) -> None:
        self._kill = kill
        if self._fault is not None:
            kill()

    def _abandon(self, fault: BaseException) -> None:
        """Stop encoding with `fault`, and wait for it."""
        self._fault = fault
        if self._kill is not None and not self._file.done():
            self._kill()
        self._file.exception()


def wait_for_result(future: Future[T], check_cancel: CheckCancel) -> T:
    """Wait for `future`, calling `check_cancel` periodically; raise the exceptions of both."""
    while wait([future], timeout=_POLL_SECONDS).not_done:
        check_cancel()
    return future.result()
