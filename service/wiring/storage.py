"""Build the artifact store and the database's replica from the settings."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from service.artifacts.files import Files
from service.artifacts.s3 import S3
from service.artifacts.spool import Spool
from service.artifacts.volume import MountedVolume, RemoteVolume
from service.domain.attempt import ArtifactStore
from service.domain.errors import Unavailable
from service.installation import install_command
from service.offsite.on_modal import DictKeyValue, VolumeBlobStore
from service.offsite.shipping import Replica
from service.settings import Settings


def replica(settings: Settings) -> Replica | None:
    """Return the offsite replica of the database; None where its disk is durable."""
    if not settings.is_offsite:
        return None
    import modal

    options = {
        "environment_name": settings.modal_environment or None,
        "create_if_missing": True,
    }
    volume = modal.Volume.from_name(settings.database_volume, version=2, **options)
    entries = modal.Dict.from_name(settings.database_volume, **options)
    lease = timedelta(seconds=settings.database_lease_seconds)
    return Replica(VolumeBlobStore(volume), DictKeyValue(entries), settings.offsite_path, lease)


def artifacts(settings: Settings) -> ArtifactStore:
    """Return the artifact store: a bucket, a Modal Volume, or files in the data directory."""
    spool = Spool(settings.data_dir / "spool")
    if not settings.s3_bucket:
        if settings.dispatch == "modal":
            return RemoteVolume(_modal_volume(settings), spool)
        return Files(settings.data_dir / "artifacts")
    client = _s3_client(settings)
    return S3(client, settings.s3_bucket, settings.s3_prefix, spool, has_links=settings.s3_links)


def mounted_artifacts(settings: Settings, mount: Path) -> ArtifactStore:
    """Return the artifact store of a worker on Modal, with the Volume mounted at `mount`."""
    if settings.s3_bucket:
        return artifacts(settings)
    return MountedVolume(mount, _modal_volume(settings))


def _modal_volume(settings: Settings) -> Any:
    import modal

    return modal.Volume.from_name(
        f"{settings.modal_app}-artifacts",
        environment_name=settings.modal_environment or None,
        create_if_missing=True,
        version=2,
    )


def _s3_client(settings: Settings) -> Any:
    try:
        import boto3
        from botocore.config import Config
    except ImportError:
        how = install_command("s3")
        raise Unavailable(f"RUSHES_S3_BUCKET needs boto3; {how} installs it") from None
    key, secret = settings.s3_access_key_id, settings.s3_secret_access_key
    return boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint_url or None,
        # R2 has no other region; Amazon has no `auto`.
        region_name=settings.s3_region or ("auto" if settings.s3_endpoint_url else None),
        aws_access_key_id=key.get_secret_value() if key else None,
        aws_secret_access_key=secret.get_secret_value() if secret else None,
        config=Config(
            signature_version="s3v4",
            # Few services besides Amazon have a host name for each bucket.
            s3={"addressing_style": "path" if settings.s3_endpoint_url else "auto"},
            retries={"max_attempts": 5, "mode": "standard"},
            connect_timeout=5,
            read_timeout=30,
        ),
    )
