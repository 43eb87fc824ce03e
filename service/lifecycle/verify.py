"""Check a worker's outcome: does it match the request and the stored bytes?"""

import logging

from pydantic import ValidationError

from service.domain.attempt import MANIFEST, Artifact, ArtifactStore, Outcome
from service.domain.errors import FieldError
from service.domain.job import Job

log = logging.getLogger(__name__)


def finished_outcome(artifacts: ArtifactStore, job: Job, prefix: str) -> Outcome | None:
    """Return the outcome in the manifest that a silent worker wrote last under `prefix`; None if
    there is none, or if it does not match the job."""
    path = artifacts.path(f"{prefix}/{MANIFEST}")
    if path is None:
        return None
    try:
        outcome = Outcome.model_validate_json(path.read_bytes())
    except ValidationError as fault:
        log.error("manifest cannot be read", exc_info=fault, extra={"prefix": prefix})
        return None
    errors = outcome_errors(job, outcome, prefix)
    if errors:
        log.error("manifest is of another request", extra={"prefix": prefix, "errors": errors})
        return None
    return outcome if is_intact(artifacts, outcome) else None


def is_intact(artifacts: ArtifactStore, outcome: Outcome) -> bool:
    """Tell whether the stored bytes match the outcome. Raises Unavailable."""
    for artifact in outcome.facts.artifacts.values():
        path = artifacts.path(artifact.key)
        if path is None or Artifact.of_file(artifact.key, path, artifact.media_type) != artifact:
            log.error("stored bytes do not match the manifest", extra={"key": artifact.key})
            return False
    return True


def outcome_errors(job: Job, outcome: Outcome, prefix: str) -> list[FieldError]:
    """List the errors of an outcome: it must match the request, with its bytes under `prefix`."""
    facts, request = outcome.facts, job.request
    errors = [
        FieldError(f"/facts/artifacts/{name}/key", f"must lie directly under {prefix}/", "foreign")
        for name, artifact in facts.artifacts.items()
        if artifact.key.rpartition("/")[0] != prefix
    ]
    errors += [
        FieldError(
            f"/facts/{name}", f"must be {getattr(request, name)}, as requested", "not_as_asked"
        )
        for name in ("width", "height", "fps", "num_frames")
        if getattr(request, name) not in (None, getattr(facts, name))
    ]
    return errors
