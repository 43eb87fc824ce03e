"""Encoding in threads of its own, so that a model need not wait for ffmpeg."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from itertools import islice, pairwise
from pathlib import Path
from queue import Empty, Full, Queue
from typing import Any, TypeVar

from service.domain.attempt import WorkerStopping
from service.domain.request import VideoRequest
from service.workers.adapters.base import Frame
from service.workers.stages.encode import KEYFRAME_SECONDS, Encoded, Kill, broken, encode
from service.workers.stages.stitch import join

Heed = Callable[[], object]  # raises what tells an attempt to stop
T = TypeVar("T")

_LOOK_SECONDS = 0.05  # how soon one side sees that the other is gone
# x264's threads wait for each other's rows: of pictures as small as ours few are ever busy.
_CORES_EACH = 4


class Encoding:
    """One file that is written from the frames that it is given, while more are made.

    Where there are many cores several ffmpegs write a part each, of whole groups of pictures, which
    no frame of another refers to; the parts are then joined without being encoded again.

    Leaving it as a context throws away what is not done by then, and ends its ffmpegs.
    """

    def __init__(
        self,
        request: VideoRequest,
        target: Path,
        provenance: dict[str, Any],
        *,
        ahead: int,
        cores: int | None = None,
    ) -> None:
        """`ahead` is how many frames may wait for ffmpeg; the next one waits for room. `cores` are
        this machine's, if not told."""
        self._request, self._target, self._provenance = request, target, provenance
        self._middle: Frame | None = None
        shares = _shares(request, (cores or os.cpu_count() or 1) // _CORES_EACH)
        room = max(1, ahead // len(shares))
        targets = [target] if len(shares) == 1 else _beside(target, len(shares))
        self._parts = [
            _Part(request.model_copy(update={"num_frames": share}), path, provenance, room)
            for share, path in zip(shares, targets, strict=True)
        ]

    def take(self, frames: Iterator[Frame]) -> None:
        """Until the last of them is handed over. Raises what `frames` does, and what `encode`
        does that could not go on."""
        try:
            watched = self._watched(frames)
            for part in self._parts[:-1]:
                part.take(islice(watched, part.frames))
            self._parts[-1].take(watched)  # all that is left: were it too much, that is told
        except BaseException as fault:
            self._abandon(fault)
            raise

    def result(self, heed: Heed) -> Encoded:
        """The finished file. Raises what `encode` does, and what `heed` does meanwhile."""
        made = [waited_for(part.file, heed) for part in self._parts]
        if len(made) == 1:
            return made[0]
        assert self._middle is not None, "all frames were handed over"
        join([part.path for part in made], self._target, self._request.fps, self._provenance)
        return Encoded(self._target, self._middle, made[-1].last)

    def __enter__(self) -> "Encoding":
        return self

    def __exit__(self, *_: object) -> None:
        self._abandon(WorkerStopping())

    def _watched(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        asked, made = self._request.num_frames, 0
        for frame in frames:
            if made == asked // 2:
                self._middle = frame.copy()
            made += 1
            yield frame
        if made < asked:
            raise broken(f"the model made {made} frames instead of {asked}")

    def _abandon(self, fault: BaseException) -> None:
        """End it, if it has not ended: no ffmpeg writes where nobody will look."""
        for part in self._parts:
            part.abandon(fault)


class _Part:
    """The work of one ffmpeg, in a thread that hands it the frames."""

    def __init__(
        self, request: VideoRequest, target: Path, provenance: dict[str, Any], room: int
    ) -> None:
        self.frames = request.num_frames
        self._waiting: Queue[Frame | None] = Queue(maxsize=room)
        self._fault: BaseException | None = None
        self._kill: Kill | None = None
        pool = ThreadPoolExecutor(1, thread_name_prefix="encode")
        self.file = pool.submit(
            encode, self._handed(), request, target, provenance, started=self._started
        )
        pool.shutdown(wait=False)

    def take(self, frames: Iterator[Frame]) -> None:
        for frame in frames:
            self._hand(frame)
        self._hand(None)

    def abandon(self, fault: BaseException) -> None:
        self._fault = fault
        if self._kill is not None and not self.file.done():
            self._kill()
        self.file.exception()

    def _hand(self, frame: Frame | None) -> None:
        while True:
            with suppress(Full):
                self._waiting.put(frame, timeout=_LOOK_SECONDS)
                return
            if self.file.done():
                self.file.result()  # it failed, or there would be room

    def _handed(self) -> Iterator[Frame]:
        while self._fault is None:
            with suppress(Empty):
                frame = self._waiting.get(timeout=_LOOK_SECONDS)
                if frame is None:
                    return
                yield frame
        raise self._fault

    def _started(self, kill: Kill) -> None:
        self._kill = kill
        if self._fault is not None:
            kill()


def _shares(request: VideoRequest, most: int) -> list[int]:
    """How many frames each of at most `most` ffmpegs writes: groups of pictures as one would have
    begun them, as many for each as for the others, or one more."""
    group = KEYFRAME_SECONDS * request.fps
    groups = -(-request.num_frames // group)
    writers = max(1, min(most, groups))
    ends = [group * (groups * nth // writers) for nth in range(1, writers)]
    return [b - a for a, b in pairwise([0, *ends, request.num_frames])]


def _beside(target: Path, count: int) -> list[Path]:
    return [target.with_name(f"{target.stem}-part-{nth}.mp4") for nth in range(count)]


def waited_for(future: Future[T], heed: Heed) -> T:
    """What comes of `future`. Raises what it does, and what `heed` does, asked now and then."""
    while wait([future], timeout=_LOOK_SECONDS).not_done:
        heed()
    return future.result()
