"""Upload the finished files; the manifest comes last and marks them complete."""

from pathlib import Path

from service.domain.artifact import MANIFEST, Artifact
from service.domain.attempt import Outcome
from service.domain.ports import ArtifactStore

_MEDIA_TYPES = {".mp4": "video/mp4", ".jpg": "image/jpeg", ".png": "image/png"}


def upload(artifacts: ArtifactStore, prefix: str, source: Path) -> Artifact:
    """Put `source` under `prefix` with its own name."""
    return artifacts.put(f"{prefix}/{source.name}", source, _MEDIA_TYPES[source.suffix])


def upload_manifest(artifacts: ArtifactStore, prefix: str, outcome: Outcome, scratch: Path) -> None:
    """Upload the outcome, with which a job can be finished without its worker."""
    manifest = scratch / MANIFEST
    manifest.write_text(outcome.model_dump_json(indent=2))
    artifacts.put(f"{prefix}/{manifest.name}", manifest, "application/json")
