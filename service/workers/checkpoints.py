"""Finished segments are stored beside the job, so that none is generated twice."""

import hashlib
import logging
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from service.domain.attempt import SEGMENTS, Artifact, ArtifactStore, Ticket, job_folder
from service.domain.errors import Unavailable
from service.domain.ids import JobId
from service.domain.resolve.segments import Segment
from service.workers.adapters.base import Audio
from service.workers.stages.encode_ahead import CheckCancel, wait_for_result
from service.workers.stages.generate import SegmentClip

log = logging.getLogger(__name__)


class _Missing(Exception):
    """Bytes of a segment are not, or not all, there."""


class _Manifest(BaseModel):
    """Written last: its files are complete. `of` is the fingerprint of what they were made from."""

    model_config = ConfigDict(frozen=True)

    of: str
    video: Artifact
    tail: Artifact | None
    difference: float | None
    audio: Artifact | None = None
    anchor: Artifact | None = None


@dataclass(frozen=True)
class Checkpoints:
    """The finished segments of a job, of this attempt and earlier ones.

    An attempt writes under its own prefix and reads under those of all attempts.
    """

    ticket: Ticket
    artifacts: ArtifactStore
    prefix: str
    scratch: Path
    _pool: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="checkpoint"), init=False
    )
    _pending: list[Future[None]] = field(default_factory=list, init=False)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for pending writes, also when the attempt failed."""
        self._pool.shutdown(wait=True)

    def load(self, segments: list[Segment]) -> list[SegmentClip]:
        """Load the finished segments, from the first up to the first missing one."""
        clips: list[SegmentClip] = []
        if len(segments) > 1:
            folders = self._folders()
            for segment in segments:
                reads = (self._read(folder, segment) for folder in folders)
                clip = next(filter(None, reads), None)
                if clip is None:
                    break
                clips = [*(earlier.without_continuation() for earlier in clips), clip]
        return clips

    def save(self, segment: Segment, clip: SegmentClip, check_cancel: CheckCancel) -> None:
        """Save a segment in the background, while the model generates the next one.

        Waits for the save before it and raises its error. The last segment is not saved: the video
        is, right after it.
        """
        self.wait(check_cancel)
        if not segment.last:
            self._pending.append(self._pool.submit(self._write, segment, clip))

    def wait(self, check_cancel: CheckCancel) -> None:
        """Wait for pending saves; raise their error, or that of `check_cancel`."""
        while self._pending:
            wait_for_result(self._pending.pop(), check_cancel)

    def _write(self, segment: Segment, clip: SegmentClip) -> None:
        folder, name = f"{self.prefix}/{SEGMENTS}", f"{segment.number}"
        assert clip.encoding is not None, "loaded segments are not saved again"
        clip.encoding.result(lambda: None)
        copy = self.scratch / f"{name}-copy.mp4"
        copy.hardlink_to(clip.video)  # `put` moves its file, and the original is still to be joined
        manifest = _Manifest(
            of=self._fingerprint(segment),
            video=self.artifacts.put(f"{folder}/{name}.mp4", copy, "video/mp4"),
            tail=self._put_array(f"{folder}/{name}.npy", clip.tail),
            difference=clip.difference,
            audio=self._put_array(
                f"{folder}/{name}-audio.npy", None if clip.audio is None else clip.audio.samples
            ),
            anchor=self._put_array(f"{folder}/{name}-anchor.npy", clip.anchor),
        )
        file = self.scratch / f"{name}.json"
        file.write_text(manifest.model_dump_json())
        self.artifacts.put(f"{folder}/{name}.json", file, "application/json")

    def _put_array(self, key: str, array: NDArray[Any] | None) -> Artifact | None:
        if array is None:
            return None
        file = self.scratch / key.rpartition("/")[2]
        np.save(file, array, allow_pickle=False)
        return self.artifacts.put(key, file, "application/octet-stream")

    def discard(self) -> None:
        """Delete this attempt's segments once the video is stored; retention deletes leftovers."""
        try:
            self.artifacts.delete(f"{self.prefix}/{SEGMENTS}")
        except (Unavailable, OSError) as error:
            log.warning(
                "segments could not be deleted", extra={"job": self.ticket.job_id, "error": error}
            )

    def _folders(self) -> list[str]:
        """List the folders of segments, the newest attempt's first."""
        job = job_folder(JobId(self.ticket.job_id))
        names = sorted(self.artifacts.children(job), key=_fence_of, reverse=True)
        return [f"{job}/{name}/{SEGMENTS}" for name in names]

    def _read(self, folder: str, segment: Segment) -> SegmentClip | None:
        """Read a segment; None if it is missing, incomplete or has another fingerprint."""
        path = self.artifacts.path(f"{folder}/{segment.number}.json")
        if path is None:
            return None
        try:
            manifest = _Manifest.model_validate_json(path.read_bytes())
        except ValidationError as fault:
            log.error(
                "manifest of a segment cannot be read",
                exc_info=fault,
                extra={"job": self.ticket.job_id},
            )
            return None
        if manifest.of != self._fingerprint(segment):
            return None
        try:
            video = self._bytes(manifest.video)
            tail, samples, anchor = map(
                self._array, (manifest.tail, manifest.audio, manifest.anchor)
            )
        except _Missing:
            log.warning(
                "segment is incomplete",
                extra={"job": self.ticket.job_id, "segment": segment.number},
            )
            return None
        file = self.scratch / f"saved-{segment.number}.mp4"
        file.write_bytes(video)
        log.info("segment loaded", extra={"job": self.ticket.job_id, "segment": segment.number})
        sound = None if samples is None else Audio(samples)
        return SegmentClip(file, tail, manifest.difference, audio=sound, anchor=anchor)

    def _array(self, artifact: Artifact | None) -> Any:
        """Return the stored array, None without one. Raises _Missing unless all bytes are there."""
        return None if artifact is None else _load_array(self._bytes(artifact))

    def _bytes(self, artifact: Artifact) -> bytes:
        """Raises _Missing unless all bytes are there."""
        path = self.artifacts.path(artifact.key)
        content = None if path is None else path.read_bytes()
        if content is None or hashlib.sha256(content).hexdigest() != artifact.sha256:
            raise _Missing
        return content

    def _fingerprint(self, segment: Segment) -> str:
        """Hash everything that the frames of this segment and those before it depend on."""
        card = self.ticket.card
        inputs = [
            self.ticket.request.model_dump_json(),
            repr((segment.number, segment.of, card.name, card.weights)),
        ]
        return hashlib.sha256("\n".join(inputs).encode()).hexdigest()


def _load_array(content: bytes) -> Any:
    return np.load(BytesIO(content), allow_pickle=False)


def _fence_of(folder: str) -> int:
    """Return the fence in the name of an attempt's folder, `<fence>-<salt>`; 0 in other names."""
    fence = folder.partition("-")[0]
    return int(fence) if fence.isdecimal() else 0
