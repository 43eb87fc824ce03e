"""The worker protocol: claim, begin, progress, then finish, fail or release."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from service.api.auth import AttemptToken, WorkerDep
from service.api.deps import RuntimeDep
from service.api.forwarded import reached_at
from service.api.path_params import job_id_of
from service.api.schemas.problems import documented
from service.domain.attempt import Failure, Outcome, Progress, Ticket
from service.domain.errors import Lost, NotFound
from service.domain.job import Job, JobState
from service.domain.text import Label, Text
from service.failpoint import failpoint
from service.lifecycle import claim, report
from service.lifecycle.billing import GpuTime
from service.lifecycle.report import Credentials
from service.log import Log
from service.runtime.fleet import Worker
from service.runtime.notifier import heard
from service.runtime.runtime import Runtime
from service.store import jobs

log = Log(__name__)
router = APIRouter(prefix="/internal", tags=["workers"])

# A retry falls due without a ring, so a waiting worker looks again this often.
_LOOK_AGAIN_SECONDS = 1.0


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ClaimBody(_Body):
    """A worker asks for work that it can do."""

    worker: Label
    models: Annotated[list[Label], Field(min_length=1, max_length=32)]
    warm: Label | None = None
    gpu: Annotated[Text, Field(max_length=64)] | None = None
    wait_seconds: Annotated[float, Field(ge=0, le=60, allow_inf_nan=False)] = 20.0


class UnfitReport(_Body):
    """A worker that asks for no work says why."""

    worker: Label
    models: Annotated[list[Label], Field(min_length=1, max_length=32)]
    reason: Annotated[Text, Field(max_length=500)]


class BeginBody(_Body):
    """`call_id` names this start of a worker; the same one may begin again."""

    call_id: Annotated[Text, Field(min_length=1, max_length=120)]


class Begun(BaseModel):
    fence: int
    artifact_prefix: str
    lease_seconds: float


class ProgressBody(_Body):
    fence: int
    progress: Progress


class Heard(BaseModel):
    cancel_requested: bool


class FinishBody(_Body):
    fence: int
    outcome: Outcome


class FailBody(_Body):
    fence: int
    failure: Failure


class ReleaseBody(_Body):
    """`gpu` and `gpu_seconds` are what the attempt has cost, where its worker knows."""

    fence: int
    gpu: Annotated[Text, Field(max_length=64)] | None = None
    gpu_seconds: Annotated[float, Field(ge=0, le=1e7, allow_inf_nan=False)] | None = None


class Ended(BaseModel):
    status: str


@router.post(
    "/claims",
    response_model=Ticket,
    responses={204: {"description": "Nothing to do."}, **documented(400, 401, 413, 415, 422, 503)},
)
async def claim_work(ask: ClaimBody, request: Request, runtime: WorkerDep) -> Response:
    """Wait for work: a ticket, or 204 when there was none for `wait_seconds`."""
    runtime.fleet.asked(
        Worker(ask.worker, tuple(ask.models), ask.warm, ask.gpu, heard_at=runtime.clock.passed())
    )
    claimed = await _wait_for_work(ask, request, runtime)
    if claimed is None:
        return Response(status_code=204)
    job = claimed.job
    failpoint("claim.committed")
    log.info("attempt claimed", job=job.id, attempt=job.attempt, worker=ask.worker)
    ticket = claimed.ticket(runtime.cards[job.request.model], reached_at(request))
    runtime.fleet.took(ask.worker, ticket.attempt_id)
    return Response(ticket.model_dump_json(), media_type="application/json")


async def _wait_for_work(ask: ClaimBody, request: Request, runtime: Runtime) -> claim.Claim | None:
    wait = timedelta(seconds=ask.wait_seconds)
    deadline = runtime.clock.passed() + min(wait, runtime.limits.max_wait)
    models = [name for name in ask.models if name in runtime.cards]
    with runtime.notifier.listen(*(f"queue:{name}" for name in models)) as event:
        while not runtime.notifier.closed:
            event.clear()
            # Work claimed for a worker that hung up would be lost for one lease.
            if await request.is_disconnected():
                return None
            if (claimed := await _claim(ask.worker, models, runtime)) is not None:
                return claimed
            left = (deadline - runtime.clock.passed()).total_seconds()
            if left <= 0:
                return None
            await heard(event, min(left, _LOOK_AGAIN_SECONDS))
    return None


async def _claim(worker: str, models: list[str], runtime: Runtime) -> claim.Claim | None:
    """Look first: the writer is bothered only when there is something to take."""
    if not runtime.disk_space.enough:
        return None  # what is made now could not be kept
    limits = runtime.limits
    most = limits.max_active_per_key
    if not await runtime.read(lambda tx: jobs.candidates(tx, models, runtime.clock(), limit=most)):
        return None
    return await runtime.write(
        lambda tx: claim.claim(
            tx,
            models,
            worker=worker,
            lease=limits.starting_lease,
            max_active=most,
            now=runtime.clock(),
        )
    )


@router.post("/unfit", status_code=204, responses=documented(400, 401, 413, 422, 503))
async def report_unfit(report: UnfitReport, runtime: WorkerDep) -> None:
    """Its machine is at fault: `/health` shows the worker and its reason until it claims again."""
    worker = Worker(
        report.worker,
        tuple(report.models),
        warm=None,
        gpu=None,
        heard_at=runtime.clock.passed(),
        unfit=report.reason,
    )
    runtime.fleet.asked(worker)


@router.post("/tick", responses=documented(401))
async def tick(runtime: WorkerDep) -> dict[str, str]:
    """Wake the service, so that its own ticks run for a while: for a host that lets it sleep."""
    runtime.jobs_due.set()
    runtime.webhooks_due.set()
    return {"status": "awake"}


AttemptPath = Annotated[str, Path(description="`<job id>.<number>`")]
_attempt = documented(400, 401, 404, "lost", 413, 415, 422, 503)


@router.post("/attempts/{attempt_id}/begin", responses=_attempt)
async def begin_attempt(
    attempt_id: AttemptPath, ask: BeginBody, runtime: RuntimeDep, token: AttemptToken
) -> Begun:
    """A worker's first act; 409 `lost` when the attempt is another's or over."""
    credentials = _credentials(attempt_id, token)
    lease = runtime.limits.running_lease
    job = await runtime.write(
        lambda tx: report.begin(
            tx,
            credentials,
            call_id=ask.call_id,
            lease=lease,
            terms=runtime.terms,
            now=runtime.clock(),
        )
    )
    if job.state is not JobState.RUNNING:
        raise Lost("its container was restarted too often")
    failpoint("begin.committed")
    log.info("attempt begun", job=job.id, attempt=job.attempt, fence=job.fence)
    return Begun(
        fence=job.fence,
        artifact_prefix=job.artifact_prefix,
        lease_seconds=lease.total_seconds(),
    )


@router.post("/attempts/{attempt_id}/progress", responses=_attempt)
async def report_progress(
    attempt_id: AttemptPath, ask: ProgressBody, runtime: RuntimeDep, token: AttemptToken
) -> Heard:
    """Show progress and stay alive; the answer tells whether to stop."""
    credentials = _credentials(attempt_id, token)
    lease = runtime.limits.running_lease
    job = await runtime.write(
        lambda tx: report.progress(
            tx, credentials, fence=ask.fence, told=ask.progress, lease=lease, now=runtime.clock()
        ),
        replicated=False,
    )
    runtime.fleet.reported(attempt_id, runtime.clock.passed())
    return Heard(cancel_requested=job.cancel_requested_at is not None)


@router.post("/attempts/{attempt_id}/finish", responses=_attempt)
async def finish_attempt(
    attempt_id: AttemptPath, ask: FinishBody, runtime: RuntimeDep, token: AttemptToken
) -> Ended:
    """The bytes are in place: the job has succeeded."""
    credentials = _credentials(attempt_id, token)
    job = await runtime.write(
        lambda tx: report.finish(
            tx,
            credentials,
            fence=ask.fence,
            outcome=ask.outcome,
            terms=runtime.terms,
            now=runtime.clock(),
        )
    )
    return _ended(job, credentials)


@router.post("/attempts/{attempt_id}/fail", responses=_attempt)
async def fail_attempt(
    attempt_id: AttemptPath, ask: FailBody, runtime: RuntimeDep, token: AttemptToken
) -> Ended:
    """No video: the job is queued again, canceled or failed, by the kind of failure."""
    credentials = _credentials(attempt_id, token)
    job = await runtime.write(
        lambda tx: report.fail(
            tx,
            credentials,
            fence=ask.fence,
            failure=ask.failure,
            terms=runtime.terms,
            now=runtime.clock(),
        )
    )
    return _ended(job, credentials)


@router.post("/attempts/{attempt_id}/release", responses=_attempt)
async def release_attempt(
    attempt_id: AttemptPath, ask: ReleaseBody, runtime: RuntimeDep, token: AttemptToken
) -> Ended:
    """The worker was told to stop: the job is queued again at once and no attempt is counted."""
    credentials = _credentials(attempt_id, token)
    job = await runtime.write(
        lambda tx: report.release(
            tx,
            credentials,
            fence=ask.fence,
            terms=runtime.terms,
            now=runtime.clock(),
            spent=GpuTime(ask.gpu_seconds, ask.gpu),
        )
    )
    return _ended(job, credentials)


def _ended(job: Job, credentials: Credentials) -> Ended:
    failpoint("finish.committed")
    log.info("attempt ended", job=job.id, attempt=credentials.number, state=job.state)
    return Ended(status=job.state)


def _credentials(attempt_id: str, token: str) -> Credentials:
    job_id, _, number = attempt_id.rpartition(".")
    if not (number.isascii() and number.isdigit() and len(number) < 7):
        raise NotFound("no such attempt")
    return Credentials(job_id_of(job_id), int(number), token)
