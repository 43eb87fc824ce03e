"""The worker protocol: claim, begin, progress, then finish, fail or release."""

import logging
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from service.api.deps import AttemptToken, RuntimeDep, WorkerDep
from service.api.forwarded import base_url
from service.api.schemas.responses import UNLOAD, header_docs, problem_docs
from service.domain import topics
from service.domain.attempt import Failure, Outcome, Progress, Ticket
from service.domain.errors import Lost, NotFound
from service.domain.ids import job_id_of
from service.domain.job import Job, JobState
from service.domain.text import Label, Text
from service.failpoint import failpoint
from service.lifecycle import claim, report
from service.lifecycle.report import Credentials, GpuTime
from service.runtime.fleet import Worker
from service.runtime.notifier import wait_for_event
from service.runtime.runtime import Runtime
from service.store import jobs

log = logging.getLogger(__name__)
router = APIRouter(prefix="/internal", tags=["workers"])

# A retry falls due without a notification, so a waiting worker polls this often.
_LOOK_AGAIN_SECONDS = 1.0


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ClaimBody(_Body):
    """A worker asks for a job of one of its models."""

    worker: Label
    models: Annotated[list[Label], Field(min_length=1, max_length=32)]
    warm: Label | None = None
    gpu: Annotated[Text, Field(max_length=64)] | None = None
    wait_seconds: Annotated[float, Field(ge=0, le=60, allow_inf_nan=False)] = 20.0


class UnfitReport(_Body):
    """A worker reports why it claims no jobs."""

    worker: Label
    models: Annotated[list[Label], Field(min_length=1, max_length=32)]
    reason: Annotated[Text, Field(max_length=500)]


class BeginBody(_Body):
    """`call_id` names this start of a worker; the same one may repeat its begin."""

    call_id: Annotated[Text, Field(min_length=1, max_length=120)]


class BeginReply(BaseModel):
    fence: int
    artifact_prefix: str
    lease_seconds: float


class ProgressBody(_Body):
    fence: int
    progress: Progress


class ProgressReply(BaseModel):
    cancel_requested: bool


class FinishBody(_Body):
    fence: int
    outcome: Outcome


class FailBody(_Body):
    fence: int
    failure: Failure


class ReleaseBody(_Body):
    """`gpu` and `gpu_seconds`: the cost of the attempt, if its worker knows."""

    fence: int
    gpu: Annotated[Text, Field(max_length=64)] | None = None
    gpu_seconds: Annotated[float, Field(ge=0, le=1e7, allow_inf_nan=False)] | None = None


class EndReply(BaseModel):
    status: str


@router.post(
    "/claims",
    response_model=Ticket,
    responses={
        204: {"description": "No job.", **header_docs(UNLOAD)},
        **problem_docs(400, 401, 413, 415, 422, 503),
    },
)
async def claim_work(body: ClaimBody, request: Request, runtime: WorkerDep) -> Response:
    """Claim a job: a ticket, or 204 when none came within `wait_seconds`."""
    runtime.fleet.record_poll(
        Worker(
            body.worker,
            tuple(body.models),
            body.warm,
            body.gpu,
            last_seen_at=runtime.clock.passed(),
        )
    )
    new_claim = await _wait_for_work(body, request, runtime)
    if new_claim is None:
        must_unload = await _is_paused(runtime, body.warm)
        return Response(status_code=204, headers={UNLOAD: "1"} if must_unload else None)
    job = new_claim.job
    failpoint("claim.committed")
    log.info(
        "attempt claimed", extra={"job": job.id, "attempt": job.attempt, "worker": body.worker}
    )
    ticket = new_claim.ticket(runtime.cards[job.request.model], base_url(request))
    runtime.fleet.assign(body.worker, ticket.attempt_id)
    return Response(ticket.model_dump_json(), media_type="application/json")


async def _wait_for_work(body: ClaimBody, request: Request, runtime: Runtime) -> claim.Claim | None:
    wait = timedelta(seconds=body.wait_seconds)
    deadline = runtime.clock.passed() + min(wait, runtime.limits.max_wait)
    models = [name for name in body.models if name in runtime.cards]
    with runtime.notifier.listen(*map(topics.of_queue, models)) as event:
        while not runtime.notifier.closed:
            event.clear()
            # A job claimed for a disconnected worker would be lost for one lease.
            if await request.is_disconnected():
                return None
            if (new_claim := await _claim(body.worker, models, runtime)) is not None:
                return new_claim
            if await _is_paused(runtime, body.warm):
                return None  # at once, so that the worker frees its memory
            seconds_left = (deadline - runtime.clock.passed()).total_seconds()
            if seconds_left <= 0:
                return None
            await wait_for_event(event, min(seconds_left, _LOOK_AGAIN_SECONDS))
    return None


async def _is_paused(runtime: Runtime, model: str | None) -> bool:
    return model is not None and model in await runtime.read(jobs.paused_models)


async def _claim(worker: str, models: list[str], runtime: Runtime) -> claim.Claim | None:
    """Claim a job. Reads first: the single writer is used only if there is a candidate."""
    if not runtime.disk_space.enough:
        return None  # its video could not be stored
    limits = runtime.limits
    max_active = limits.max_active_per_key
    if not await runtime.read(
        lambda tx: jobs.candidates(tx, models, runtime.clock(), limit=max_active)
    ):
        return None
    return await runtime.write(
        lambda tx: claim.claim(
            tx,
            models,
            worker=worker,
            lease=limits.starting_lease,
            max_active=max_active,
            now=runtime.clock(),
        )
    )


@router.post("/unfit", status_code=204, responses=problem_docs(400, 401, 413, 422, 503))
async def report_unfit(report: UnfitReport, runtime: WorkerDep) -> None:
    """Report a faulty machine: `/health` shows the reason until the worker claims again."""
    worker = Worker(
        report.worker,
        tuple(report.models),
        warm=None,
        gpu=None,
        last_seen_at=runtime.clock.passed(),
        unfit=report.reason,
    )
    runtime.fleet.record_poll(worker)


@router.post("/tick", responses=problem_docs(401))
async def tick(runtime: WorkerDep) -> dict[str, str]:
    """Wake the service, so that its own ticks run for a while: for a host that lets it sleep."""
    runtime.jobs_due.set()
    runtime.webhooks_due.set()
    return {"status": "awake"}


async def _credentials(
    attempt_id: Annotated[str, Path(description="`<job id>.<number>`")], token: AttemptToken
) -> Credentials:
    job_id, _, number = attempt_id.rpartition(".")
    if not (number.isascii() and number.isdigit() and len(number) < 7):
        raise NotFound("no such attempt")
    return Credentials(job_id_of(job_id), int(number), token)


AttemptDep = Annotated[Credentials, Depends(_credentials)]
_ATTEMPT_PROBLEMS = problem_docs(400, 401, 404, "lost", 413, 415, 422, 503)


@router.post("/attempts/{attempt_id}/begin", responses=_ATTEMPT_PROBLEMS)
async def begin_attempt(
    body: BeginBody, runtime: RuntimeDep, credentials: AttemptDep
) -> BeginReply:
    """A worker's first act; 409 `lost` when the attempt is another's or over."""
    lease = runtime.limits.running_lease
    job = await runtime.write(
        lambda tx: report.begin(
            tx,
            credentials,
            call_id=body.call_id,
            lease=lease,
            terms=runtime.terms,
            now=runtime.clock(),
        )
    )
    if job.state is not JobState.RUNNING:
        raise Lost("its container was restarted too often")
    failpoint("begin.committed")
    log.info("attempt begun", extra={"job": job.id, "attempt": job.attempt, "fence": job.fence})
    return BeginReply(
        fence=job.fence,
        artifact_prefix=job.artifact_prefix,
        lease_seconds=lease.total_seconds(),
    )


@router.post("/attempts/{attempt_id}/progress", responses=_ATTEMPT_PROBLEMS)
async def report_progress(
    body: ProgressBody, runtime: RuntimeDep, credentials: AttemptDep
) -> ProgressReply:
    """Report progress and renew the lease; the response tells whether to cancel."""
    lease = runtime.limits.running_lease
    job = await runtime.write(
        lambda tx: report.progress(
            tx,
            credentials,
            fence=body.fence,
            update=body.progress,
            lease=lease,
            now=runtime.clock(),
        ),
        replicated=False,
    )
    runtime.fleet.record_report(credentials.attempt_id, runtime.clock.passed())
    return ProgressReply(cancel_requested=job.cancel_requested_at is not None)


@router.post("/attempts/{attempt_id}/finish", responses=_ATTEMPT_PROBLEMS)
async def finish_attempt(
    body: FinishBody, runtime: RuntimeDep, credentials: AttemptDep
) -> EndReply:
    """Finish: the files are stored, the job has succeeded."""
    job = await runtime.write(
        lambda tx: report.finish(
            tx,
            credentials,
            fence=body.fence,
            outcome=body.outcome,
            terms=runtime.terms,
            now=runtime.clock(),
        )
    )
    return _end_reply(job, credentials)


@router.post("/attempts/{attempt_id}/fail", responses=_ATTEMPT_PROBLEMS)
async def fail_attempt(body: FailBody, runtime: RuntimeDep, credentials: AttemptDep) -> EndReply:
    """Fail: the job is queued again, canceled or failed, by the kind of failure."""
    job = await runtime.write(
        lambda tx: report.fail(
            tx,
            credentials,
            fence=body.fence,
            failure=body.failure,
            terms=runtime.terms,
            now=runtime.clock(),
        )
    )
    return _end_reply(job, credentials)


@router.post("/attempts/{attempt_id}/release", responses=_ATTEMPT_PROBLEMS)
async def release_attempt(
    body: ReleaseBody, runtime: RuntimeDep, credentials: AttemptDep
) -> EndReply:
    """Release: the worker shuts down, the job is queued again and no attempt is counted."""
    job = await runtime.write(
        lambda tx: report.release(
            tx,
            credentials,
            fence=body.fence,
            terms=runtime.terms,
            now=runtime.clock(),
            gpu_time=GpuTime(body.gpu_seconds, body.gpu),
        )
    )
    return _end_reply(job, credentials)


def _end_reply(job: Job, credentials: Credentials) -> EndReply:
    failpoint("finish.committed")
    log.info(
        "attempt ended", extra={"job": job.id, "attempt": credentials.number, "state": job.state}
    )
    return EndReply(status=job.state)
