"""Settings become concrete parts here and nowhere else."""

import os
import resource
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any

from service.artifacts.files import Files
from service.artifacts.s3 import S3
from service.artifacts.spool import Spool
from service.artifacts.volume import MountedVolume, RemoteVolume
from service.deployed import API_INPUTS, call_seconds
from service.dispatch.on_modal import ModalDispatcher
from service.domain.card import ModelCard
from service.domain.catalog import CARDS, SLATE
from service.domain.errors import Unavailable
from service.domain.keeping import Keeping
from service.domain.key import new_secret
from service.domain.levers import Levers
from service.domain.limits import Limits, max_waits
from service.domain.ports import ArtifactStore, Offsite
from service.domain.price import GPUS, MODAL_TABLE, Rates, Terms, table_of
from service.egress.client import Egress, Rules
from service.installation import install_command
from service.lifecycle.access import admit
from service.lifecycle.calls import Calls
from service.offsite.on_modal import DictRegister, VolumeShelf
from service.offsite.tenure import Home
from service.settings import KEY_FILE, MIN_SECRET, Settings
from service.store import keys
from service.store.database import Database
from service.workers.stages.fetch import Sources

if TYPE_CHECKING:
    from service.workers.attempt import Warm
    from service.workers.run import Bench

VERSION = version("rushes")


def database(
    settings: Settings,
    on_commit: Callable[[Sequence[str]], None],
    offsite: Offsite | None = None,
) -> Database:
    return Database(settings.database_url, on_commit, offsite)


def home(settings: Settings) -> Home | None:
    """Where the database lasts, when that is not the disk it lies on."""
    if not settings.is_offsite:
        return None
    import modal

    place = {
        "environment_name": settings.modal_environment or None,
        "create_if_missing": True,
    }
    volume = modal.Volume.from_name(settings.database_volume, version=2, **place)
    entries = modal.Dict.from_name(settings.database_volume, **place)
    lasts = timedelta(seconds=settings.database_owner_seconds)
    return Home(VolumeShelf(volume), DictRegister(entries), settings.offsite_path, lasts)


def artifacts(settings: Settings) -> ArtifactStore:
    """A bucket where one is named; else a Volume on Modal, files in the data directory here."""
    spool = Spool(settings.data_dir / "spool")
    if not settings.s3_bucket:
        if settings.dispatch == "modal":
            return RemoteVolume(_modal_volume(settings), spool)
        return Files(settings.data_dir / "artifacts")
    return S3(_s3_client(settings), settings.s3_bucket, settings.s3_prefix, spool)


def mounted_artifacts(settings: Settings, mount: Path) -> ArtifactStore:
    """The same for a worker on Modal, which has the Volume at `mount`."""
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


def calls(settings: Settings, db: Database, artifacts: ArtifactStore) -> Calls | None:
    """Where workers are called: the ticks that start calls and ask how they stand."""
    if settings.dispatch == "local":
        return None
    dispatcher = ModalDispatcher(settings.modal_app, settings.modal_environment or None)
    return Calls(
        db=db,
        dispatcher=dispatcher,
        artifacts=artifacts,
        cards=cards(settings),
        terms=terms(settings),
        max_active_per_key=settings.max_active_per_key,
        most=settings.modal_max_containers,
        api_url=(settings.worker_url or settings.public_url).rstrip("/") or None,
        patience=timedelta(seconds=settings.running_lease_seconds),
        start_within=timedelta(seconds=settings.modal_start_seconds),
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
        region_name=settings.s3_region,
        aws_access_key_id=key.get_secret_value() if key else None,
        aws_secret_access_key=secret.get_secret_value() if secret else None,
        config=Config(
            signature_version="s3v4",
            # Others than Amazon seldom have a host name for each bucket.
            s3={"addressing_style": "path" if settings.s3_endpoint_url else "auto"},
            retries={"max_attempts": 5, "mode": "standard"},
            connect_timeout=5,
            read_timeout=30,
        ),
    )


def cards(settings: Settings) -> dict[str, ModelCard]:
    """The cards of the models that are served, the default first."""
    names = settings.models or [SLATE.name]
    unknown = [name for name in names if name not in CARDS]
    if unknown:
        raise Unavailable(f"RUSHES_MODELS names {unknown[0]!r}; there is: {', '.join(CARDS)}")
    _check_accepted(settings.accept_licences)
    for name in names:
        _check_licence(CARDS[name], settings.accept_licences)
    return {name: CARDS[name] for name in names}


def _check_accepted(accepted: list[str]) -> None:
    """What is accepted must be something: a name misspelt would look like consent."""
    known = {*CARDS, *(card.licence.name for card in CARDS.values())}
    for name in accepted:
        if name not in known:
            raise Unavailable(
                f"RUSHES_ACCEPT_LICENCES names {name!r}, which is neither a model nor a licence"
            )


def _check_licence(card: ModelCard, accepted: list[str]) -> None:
    """Nobody serves by mistake what its licence keeps some from using."""
    licence = card.licence
    if not licence.opt_in or card.name in accepted or licence.name in accepted:
        return
    raise Unavailable(
        f"{card.name} is under the licence {licence.name}: {'; '.join(licence.limits)}. "
        f"Read {licence.url}, and if you may and do accept it, add {card.name!r} to "
        "RUSHES_ACCEPT_LICENCES"
    )


def levers(settings: Settings) -> Levers:
    return Levers(**{name: getattr(settings, name) for name in Levers.model_fields})


def limits(settings: Settings) -> Limits:
    called = settings.dispatch == "modal"
    longest = timedelta(seconds=call_seconds(settings)) if called else timedelta(days=1)
    open_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Limits(
        max_queued_per_key=settings.max_queued_per_key,
        max_input_bytes_per_key=settings.max_input_bytes_per_key,
        max_active_per_key=settings.max_active_per_key,
        max_waits=API_INPUTS * 6 // 10 if called else max_waits(open_files),
        default_timeout=timedelta(seconds=settings.job_timeout_seconds),
        longest_timeout=longest,
        running_lease=timedelta(seconds=settings.running_lease_seconds),
    )


def terms(settings: Settings) -> Terms:
    return Terms(
        rates=rates(settings), keeping=keeping(settings), models=frozenset(cards(settings))
    )


def rates(settings: Settings) -> Rates:
    """On Modal its list, with what the owner knows better; here only what the owner says."""
    table = MODAL_TABLE if settings.dispatch == "modal" else {}
    instead = {name: tuple(gpus) for name, gpus in settings.modal_gpus.items()}
    return Rates(
        table={**table, **table_of(settings.gpu_rates, "RUSHES_GPU_RATES")},
        gpus={**GPUS, **instead},
        host=settings.gpu_host_rate,
    )


def keeping(settings: Settings) -> Keeping:
    return Keeping(
        clips=timedelta(days=settings.keep_days),
        jobs=timedelta(days=settings.keep_jobs_days),
        deliveries=timedelta(days=settings.keep_jobs_days),
    )


def egress_rules(settings: Settings) -> Rules:
    return Rules(
        ports=frozenset(settings.egress_ports), allow_loopback=settings.webhooks_allow_loopback
    )


def sources(settings: Settings) -> Sources:
    """Where a worker gets what its jobs begin with, and how much of it."""
    return Sources(
        egress=Egress(egress_rules(settings)),
        most_image_bytes=settings.max_image_bytes,
        most_video_bytes=settings.max_video_bytes,
    )


def bench(settings: Settings, kept: ArtifactStore, scratch: Path) -> "Bench":
    """Where a worker works, here and on Modal."""
    from service.workers.run import Bench  # numpy and Pillow, which the API starts without

    return Bench(kept, scratch, sources(settings), settings.ahead_bytes)


def warm(settings: Settings) -> "Warm":
    """Makes the models' adapters with the weights and levers that were chosen."""
    from service.workers.adapters.registry import make_adapter
    from service.workers.attempt import Warm

    chosen = levers(settings)
    return Warm(lambda card: make_adapter(card, settings.weights.get(card.name), chosen))


def link_secret(settings: Settings) -> bytes:
    """What signs the clip URLs: given, or made once, so that links outlive a restart."""
    if settings.secret is not None:
        return settings.secret.get_secret_value().encode()
    return kept_secret(settings.data_dir / "link-secret", secrets.token_urlsafe(32)).encode()


def kept_secret(path: Path, fresh: str) -> str:
    """The secret in `path`, or `fresh`, then kept there and readable by its owner only.

    Whoever reads it, reads all of it: the file appears with its content, or not at all.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        with NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}-") as scratch:
            scratch.write(fresh)
            scratch.flush()
            os.fsync(scratch.fileno())
            with suppress(FileExistsError):  # another process was quicker: its secret counts
                os.link(scratch.name, path)
    secret = path.read_text().strip()
    if len(secret) < MIN_SECRET:
        raise Unavailable(f"{path} holds no secret; remove it, and a new one is made")
    return secret


def first_key(settings: Settings, db: Database, now: datetime) -> None:
    """See to it that somebody can come in: the owner's chosen key, or else one made and kept."""
    chosen = settings.bootstrap_key
    if chosen is not None:
        db.write(lambda tx: admit(tx, chosen.get_secret_value(), now)).result()
    elif not any(key.admin and key.revoked_at is None for key in db.read(keys.every)):
        secret = kept_secret(settings.data_dir / KEY_FILE, new_secret())
        db.write(lambda tx: admit(tx, secret, now)).result()
