"""Test objects with good defaults."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from service.domain.attempt import (
    MANIFEST,
    Artifact,
    ArtifactStore,
    Failure,
    FailureKind,
    Outcome,
    Ticket,
    VideoFacts,
)
from service.domain.clock import ServiceClock
from service.domain.errors import ServiceError
from service.domain.ids import KeyId
from service.domain.job import Job, Submission
from service.domain.key import KeyRole, new_secret
from service.domain.key import new_key as new_key
from service.domain.limits import Limits
from service.domain.models.catalog import CARDS, SLATE
from service.domain.price import GPUS, Rates
from service.domain.request import VideoRequest
from service.domain.retention import RetentionPolicy
from service.domain.terms import Terms
from service.lifecycle import claim as claims
from service.lifecycle import report
from service.lifecycle.calls.calls import Calls
from service.lifecycle.report import Credentials
from service.lifecycle.submit import Accepted, submit_all, unlimited_storage
from service.runtime.containers import ContainerPools
from service.runtime.fleet import Fleet
from service.runtime.workers import CalledWorkers, PulledWorkers
from service.store import keys
from service.store.database import Database
from service.store.transaction import Transaction

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
LEASE = timedelta(seconds=30)
# The models of the catalog, and the names that tests give to others.
MODELS = frozenset({*CARDS, "first", "second", "third"})
TERMS = Terms(rates=Rates(gpus=GPUS), retention=RetentionPolicy(), models=MODELS)


class FakeClock:
    """Time that moves only when a test moves it."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def steady(self) -> float:
        """The same as seconds that pass, for a ServiceClock that is never set."""
        return self.now.timestamp()

    def advance(self, seconds: float) -> datetime:
        self.now += timedelta(seconds=seconds)
        return self.now


def request(**changes: Any) -> VideoRequest:
    values: dict[str, Any] = {
        "model": "slate",
        "prompt": "a red ball",
        "width": 64,
        "height": 64,
        "num_frames": 3,
        "fps": 12,
        "num_inference_steps": 30,
        "guidance_scale": 5.0,
        "seed": 7,
    }
    return VideoRequest(**{**values, **changes})


def submission(key_id: KeyId, **changes: Any) -> Submission:
    values: dict[str, Any] = {
        "key_id": key_id,
        "request": request(),
        "timeout": timedelta(minutes=30),
    }
    return Submission(**{**values, **changes})


def key(db: Database, *, admin: bool = False) -> tuple[KeyId, str]:
    """A key that is in the database, and its secret."""
    secret = new_secret()
    made = new_key(secret, name="test", now=START, role=KeyRole.ADMIN if admin else KeyRole.USER)
    db.write(lambda tx: keys.insert(tx, made)).result()
    return made.id, secret


def empty(db: Database) -> None:
    """As after the migrations."""

    def delete(tx: Transaction) -> None:
        for table in (
            "totals",
            "hours",
            "deliveries",
            "events",
            "endpoints",
            "idempotency",
            "attempts",
            "jobs",
            "labels",
            "ledger",
            "sessions",
            "bulk_items",
            "bulk_actions",
            "paused_models",
            "audit",
            "avatars",
            "voices",
            "keys",
        ):
            tx.execute(sa.text(f"DELETE FROM {table}"))

    do(db, delete)


def do(db: Database, work: Callable[[Transaction], Any]) -> Any:
    """Run `work` in a transaction and wait until it is durable."""
    return db.write(work).result()


def submit(
    tx: Transaction,
    submission: Submission,
    limits: Limits,
    now: datetime,
    check_storage: Callable[[], None] = unlimited_storage,
) -> Accepted:
    """Submit one job, or raise what refuses it."""
    (answer,) = submit_all(tx, [submission], limits, now, check_storage)
    if isinstance(answer, ServiceError):
        raise answer
    return answer


def claim(
    db: Database, now: datetime, models: tuple[str, ...] = ("slate",), *, max_active: int = 1000
) -> Any:
    return do(
        db,
        lambda tx: claims.claim(
            tx, list(models), worker="w", lease=LEASE, max_active=max_active, now=now
        ),
    )


def credentials(claimed: claims.Claim) -> Credentials:
    return Credentials(claimed.job.id, claimed.job.attempt, claimed.token)


def begin(db: Database, claimed: claims.Claim, now: datetime, call_id: str = "call-1") -> Job:
    told = credentials(claimed)
    job: Job = do(
        db, lambda tx: report.begin(tx, told, call_id=call_id, lease=LEASE, terms=TERMS, now=now)
    )
    return job


def failure(kind: FailureKind) -> Failure:
    return Failure(kind=kind, code="x", message="y")


_KEPT = {"video.mp4": "video/mp4", "thumbnail.jpg": "image/jpeg", "last_frame.png": "image/png"}
_BYTES = b"abc"  # of each


def keep_video(artifacts: ArtifactStore, scratch: Path, prefix: str) -> None:
    """The bytes that `outcome` tells of."""
    for name, media_type in _KEPT.items():
        source = scratch / name
        source.write_bytes(_BYTES)
        artifacts.put(f"{prefix}/{name}", source, media_type)


def leave_manifest(artifacts: ArtifactStore, scratch: Path, prefix: str, content: str) -> None:
    """What a worker has kept when it is done; the manifest is written last."""
    keep_video(artifacts, scratch, prefix)
    manifest = scratch / MANIFEST
    manifest.write_text(content)
    artifacts.put(f"{prefix}/{MANIFEST}", manifest, "application/json")


def outcome(job: Job) -> Outcome:
    """What a worker would say after finishing `job` under its present fence."""
    return _outcome(job.request, job.artifact_prefix)


def outcome_of_nobody() -> Outcome:
    """The same, where it does not matter whose it is."""
    return _outcome(request(), "jobs/j/1")


def _outcome(asked: VideoRequest, prefix: str) -> Outcome:
    sha256 = hashlib.sha256(_BYTES).hexdigest()

    def artifact(name: str) -> Artifact:
        return Artifact(
            key=f"{prefix}/{name}",
            media_type=_KEPT[name],
            size_bytes=len(_BYTES),
            sha256=sha256,
        )

    return Outcome(
        facts=VideoFacts(
            artifacts={
                "video": artifact("video.mp4"),
                "thumbnail": artifact("thumbnail.jpg"),
                "last_frame": artifact("last_frame.png"),
            },
            width=asked.width,
            height=asked.height,
            fps=asked.fps,
            num_frames=asked.num_frames,
        ),
        timings_ms={"total": 12},
    )


def ticket(**changes: Any) -> Ticket:
    values: dict[str, Any] = {
        "job_id": "job_06h0cqct31vp78ap2nmi51uars",
        "attempt": 1,
        "fence": 1,
        "token": "token",
        "request": request(),
        "card": SLATE,
        "api_url": "http://127.0.0.1:1",
    }
    return Ticket(**{**values, **changes})


PULLED = PulledWorkers(Fleet(), ServiceClock())


def called(calls: Calls) -> CalledWorkers:
    pools = ContainerPools(calls.dispatcher, tuple(calls.cards), calls.warm_containers)
    return CalledWorkers(calls, pools, ServiceClock())
