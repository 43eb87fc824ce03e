"""Upload the finished files; the manifest comes last and marks them complete."""

from pathlib import Path

from service.domain.attempt import MANIFEST, Artifact, ArtifactStore, Outcome


def upload(artifacts: ArtifactStore, prefix: str, file: Path, media_type: str) -> Artifact:
    """Put a file under `prefix`, with its own name."""
    return artifacts.put(f"{prefix}/{file.name}", file, media_type)


def upload_manifest(artifacts: ArtifactStore, prefix: str, outcome: Outcome, scratch: Path) -> None:
    """Upload the outcome, with which a job can be finished without its worker."""
    manifest = scratch / MANIFEST
    manifest.write_text(outcome.model_dump_json(indent=2))
    artifacts.put(f"{prefix}/{manifest.name}", manifest, "application/json")
