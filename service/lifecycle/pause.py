"""Pause and resume a model, whose jobs wait meanwhile and lose nothing; and keep it warm."""

from datetime import datetime

from service.domain.ids import KeyId
from service.lifecycle.workers import Workers
from service.store import audit, jobs
from service.store.audit import AuditEntry
from service.store.database import Database
from service.store.transaction import Transaction


def pause(tx: Transaction, model: str, actor: KeyId, now: datetime) -> datetime:
    """Start no more jobs of the model; return since when. A second time changes nothing.

    Jobs that run go on to their end. Start deadlines do not run meanwhile.
    """
    if jobs.insert_pause(tx, model, now):
        audit.insert(tx, AuditEntry(now, actor, "model.pause", model))
    return jobs.paused_models(tx).get(model, now)


def resume(tx: Transaction, model: str, actor: KeyId, now: datetime) -> bool:
    """Start jobs of the model again; their start deadlines are later by the pause. Tell whether it
    was paused."""
    paused_at = jobs.delete_pause(tx, model)
    if paused_at is None:
        return False
    jobs.extend_start_deadlines(tx, model, paused_at, now)
    audit.insert(tx, AuditEntry(now, actor, "model.resume", model))
    return True


def keep_warm(
    db: Database, workers: Workers, model: str, containers: int, actor: KeyId, now: datetime
) -> None:
    """Keep so many containers of the model warm, over deploys too. Raises as `check_warm`, and
    Unavailable where the platform cannot be told now; it is told later."""
    workers.check_warm(containers)
    db.write(lambda tx: _keep_warm(tx, model, containers, actor, now)).result()
    workers.keep_warm(model, containers)


def _keep_warm(tx: Transaction, model: str, containers: int, actor: KeyId, now: datetime) -> None:
    if jobs.warm_containers(tx).get(model) == containers:
        return
    jobs.set_warm_containers(tx, model, containers)
    detail = f"{containers} container{'' if containers == 1 else 's'}"
    audit.insert(tx, AuditEntry(now, actor, "model.warm", model, detail=detail))
