"""What a worker that fell silent left beside the bytes."""

from pydantic import ValidationError

from service.domain.attempt import MANIFEST, Outcome
from service.domain.ports import ArtifactStore
from service.log import Log

log = Log(__name__)


def finished_outcome(artifacts: ArtifactStore, prefix: str) -> Outcome | None:
    """The manifest under `prefix`: written last, so where it is, the bytes are whole."""
    path = artifacts.path(f"{prefix}/{MANIFEST}")
    if path is None:
        return None
    try:
        return Outcome.model_validate_json(path.read_bytes())
    except ValidationError as fault:
        log.error("manifest cannot be read", fault, prefix=prefix)
        return None
