"""What a worker made, by its own word: is it what was asked for, and where it may lie?"""

import hashlib
from pathlib import Path

from pydantic import ValidationError

from service.domain.artifact import MANIFEST
from service.domain.attempt import Outcome
from service.domain.errors import FieldError
from service.domain.job import Job
from service.domain.ports import ArtifactStore
from service.log import Log

log = Log(__name__)


def finished_outcome(artifacts: ArtifactStore, job: Job, prefix: str) -> Outcome | None:
    """What a worker that fell silent left under `prefix`: its manifest is written last, so where
    it is, the bytes are whole. None too where it is not about this job's clip."""
    path = artifacts.path(f"{prefix}/{MANIFEST}")
    if path is None:
        return None
    try:
        outcome = Outcome.model_validate_json(path.read_bytes())
    except ValidationError as fault:
        log.error("manifest cannot be read", fault, prefix=prefix)
        return None
    errors = faults(job, outcome, prefix)
    if errors:
        log.error("manifest is of another clip", prefix=prefix, errors=errors)
        return None
    return outcome if is_whole(artifacts, outcome) else None


def is_whole(artifacts: ArtifactStore, outcome: Outcome) -> bool:
    """Whether the bytes that are kept are those that it tells of. Raises Unavailable."""
    facts = outcome.facts
    for said in (facts.video, facts.thumbnail, facts.last_frame):
        path = artifacts.path(said.key)
        if path is None or _size_and_hash(path) != (said.size_bytes, said.sha256):
            log.error("bytes are not those that their worker told of", key=said.key)
            return False
    return True


def _size_and_hash(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        return path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()


def faults(job: Job, outcome: Outcome, prefix: str) -> list[FieldError]:
    """What is wrong with an outcome: a worker may only report what was asked for, and bytes that
    lie where it was to put them."""
    facts, asked = outcome.facts, job.request
    errors = [
        FieldError(f"/facts/{name}/key", f"must lie directly under {prefix}/", "foreign")
        for name in ("video", "thumbnail", "last_frame")
        if getattr(facts, name).key.rpartition("/")[0] != prefix
    ]
    errors += [
        FieldError(f"/facts/{name}", f"the job asks for {getattr(asked, name)}", "not_as_asked")
        for name in ("width", "height", "fps", "num_frames")
        if getattr(facts, name) != getattr(asked, name)
    ]
    return errors
