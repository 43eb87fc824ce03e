"""Upload the finished files; the manifest comes last and marks them complete."""

from pathlib import Path

from service.domain.attempt import MANIFEST, Artifact, ArtifactRule, ArtifactStore, Outcome


def upload(artifacts: ArtifactStore, prefix: str, scratch: Path, rule: ArtifactRule) -> Artifact:
    """Put a file in the folder `scratch` under `prefix`, with its own name."""
    return artifacts.put(f"{prefix}/{rule.file}", scratch / rule.file, rule.media_type)


def upload_manifest(artifacts: ArtifactStore, prefix: str, outcome: Outcome, scratch: Path) -> None:
    """Upload the outcome, with which a job can be finished without its worker."""
    manifest = scratch / MANIFEST
    manifest.write_text(outcome.model_dump_json(indent=2))
    artifacts.put(f"{prefix}/{manifest.name}", manifest, "application/json")
