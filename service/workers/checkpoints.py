"""Segments that are finished are kept beside the job, so that none is generated twice."""

import hashlib
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from service.domain.artifact import SEGMENTS, Artifact, job_folder
from service.domain.attempt import Ticket
from service.domain.errors import Unavailable
from service.domain.ids import JobId
from service.domain.ports import ArtifactStore
from service.domain.resolve.segments import Segment
from service.log import Log
from service.workers.adapters.base import Film
from service.workers.stages.encode_ahead import Heed, waited_for
from service.workers.stages.generate import Part

log = Log(__name__)


class _Manifest(BaseModel):
    """Written last: where it is, the bytes are whole. `of` tells what they were made from."""

    model_config = ConfigDict(frozen=True)

    of: str
    video: Artifact
    tail: Artifact | None
    difference: float | None


@dataclass(frozen=True)
class Checkpoints:
    """What attempts at one job have finished, this one and those before it.

    An attempt writes under its own prefix, like all that it writes; it reads under those of all.
    """

    ticket: Ticket
    artifacts: ArtifactStore
    prefix: str
    scratch: Path
    _pool: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="keep"), init=False
    )
    _under_way: list[Future[None]] = field(default_factory=list, init=False)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        """Whatever ends the attempt, a segment that is finished is kept."""
        self._pool.shutdown(wait=True)

    def found(self, segments: list[Segment]) -> list[Part]:
        """The finished segments, from the first on without a gap."""
        parts: list[Part] = []
        if len(segments) > 1:
            folders = self._folders()
            for segment in segments:
                part = next(filter(None, (self._read(at, segment) for at in folders)), None)
                if part is None:
                    break
                # Only the last one's end is gone on from, and each is tens of megabytes.
                parts = [*(replace(before, tail=None) for before in parts), part]
        return parts

    def keep(self, segment: Segment, part: Part, check_cancel: Heed) -> None:
        """In the background: while it is encoded and kept, the model makes the next. Waits for the
        segment before it, which is then durable, and raises what its keeping did. The last one is
        not kept: the video is, right after it."""
        self.wait(check_cancel)
        if not segment.last:
            self._under_way.append(self._pool.submit(self._keep, segment, part))

    def wait(self, check_cancel: Heed) -> None:
        """Until all that is to be kept is; raises what that does, and what `check_cancel` does."""
        while self._under_way:
            waited_for(self._under_way.pop(), check_cancel)

    def _keep(self, segment: Segment, part: Part) -> None:
        folder, name = f"{self.prefix}/{SEGMENTS}", f"{segment.number}"
        assert part.tail is not None, "only the last hands nothing on"
        assert part.encoding is not None, "what was found is not kept again"
        part.encoding.result(lambda: None)
        tail = self.scratch / f"{name}.npy"
        np.save(tail, part.tail, allow_pickle=False)
        copy = self.scratch / f"{name}-copy.mp4"
        copy.hardlink_to(part.video)  # what is put is taken away, and is still to be joined
        manifest = _Manifest(
            of=self._mark(segment),
            video=self.artifacts.put(f"{folder}/{name}.mp4", copy, "video/mp4"),
            tail=self.artifacts.put(f"{folder}/{name}.npy", tail, "application/octet-stream"),
            difference=part.difference,
        )
        written = self.scratch / f"{name}.json"
        written.write_text(manifest.model_dump_json())
        self.artifacts.put(f"{folder}/{name}.json", written, "application/json")

    def discard(self) -> None:
        """The video is there, and can be adopted: its segments are needed no more. Those that
        cannot be deleted now go with what attempts leave."""
        try:
            self.artifacts.delete(f"{self.prefix}/{SEGMENTS}")
        except (Unavailable, OSError) as error:
            log.warning("segments could not be deleted", job=self.ticket.job_id, error=error)

    def _folders(self) -> list[str]:
        """Where segments may lie, the newest attempt's first."""
        job = job_folder(JobId(self.ticket.job_id))
        return [f"{job}/{fence}/{SEGMENTS}" for fence in reversed(self.artifacts.children(job))]

    def _read(self, folder: str, segment: Segment) -> Part | None:
        """None where it is not there, is not whole, or was made from something else."""
        path = self.artifacts.path(f"{folder}/{segment.number}.json")
        if path is None:
            return None
        try:
            kept = _Manifest.model_validate_json(path.read_bytes())
        except ValidationError as fault:
            log.error("manifest of a segment cannot be read", fault, job=self.ticket.job_id)
            return None
        if kept.of != self._mark(segment) or kept.tail is None:
            return None
        video, tail = self._bytes(kept.video), self._bytes(kept.tail)
        if video is None or tail is None:
            log.warning("segment is not whole", job=self.ticket.job_id, segment=segment.number)
            return None
        here = self.scratch / f"kept-{segment.number}.mp4"
        here.write_bytes(video)
        log.info("segment found", job=self.ticket.job_id, segment=segment.number)
        return Part(here, _frames(tail), kept.difference)

    def _bytes(self, artifact: Artifact) -> bytes | None:
        path = self.artifacts.path(artifact.key)
        content = None if path is None else path.read_bytes()
        if content is None or hashlib.sha256(content).hexdigest() != artifact.sha256:
            return None
        return content

    def _mark(self, segment: Segment) -> str:
        """Changes with whatever changes the segment's frames, those of all before it included."""
        card = self.ticket.card
        told = [
            self.ticket.request.model_dump_json(),
            repr((segment.number, segment.of, card.name, card.weights)),
        ]
        return hashlib.sha256("\n".join(told).encode()).hexdigest()


def _frames(content: bytes) -> Film:
    film: Film = np.load(BytesIO(content), allow_pickle=False)
    return film
