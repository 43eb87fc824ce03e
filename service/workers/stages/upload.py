"""Put the finished files where they are kept; the manifest comes last and says: all is there."""

from pathlib import Path

from service.domain.artifact import MANIFEST, Artifact
from service.domain.attempt import Outcome
from service.domain.ports import ArtifactStore

_MEDIA_TYPES = {".mp4": "video/mp4", ".jpg": "image/jpeg", ".png": "image/png"}


def upload(artifacts: ArtifactStore, prefix: str, source: Path) -> Artifact:
    """`source` under `prefix`, with its own name."""
    return artifacts.put(f"{prefix}/{source.name}", source, _MEDIA_TYPES[source.suffix])


def upload_manifest(artifacts: ArtifactStore, prefix: str, outcome: Outcome, scratch: Path) -> None:
    """The outcome beside the bytes: with it a job can be finished even if its worker cannot say
    so any more."""
    manifest = scratch / MANIFEST
    manifest.write_text(outcome.model_dump_json(indent=2))
    artifacts.put(f"{prefix}/{manifest.name}", manifest, "application/json")
