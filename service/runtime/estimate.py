"""Warn of what may surprise in a submission, before it becomes a job."""

from service.domain.avatar import AvatarRequest
from service.domain.job import Submission
from service.domain.price import microusd, month_of
from service.domain.request import JobOptions, JobRequest
from service.runtime.runtime import Runtime
from service.store import keys


async def warnings(runtime: Runtime, params: JobOptions, submission: Submission) -> list[str]:
    """List what may surprise: roundings, defaults, missing workers and a budget that is spent."""
    return [
        *_of_request(runtime, params, submission.request),
        *await _of_budget(runtime, submission),
    ]


async def _of_budget(runtime: Runtime, submission: Submission) -> list[str]:
    """Warn where the key's budget does not cover the submission."""
    estimate, month = microusd(submission.estimated_usd), month_of(runtime.clock())
    balance = await runtime.read(lambda tx: keys.balance(tx, submission.key_id, month))
    if balance.allows(estimate):
        return []
    usd_left = (balance.remaining or 0) / 1e6
    return [f"${usd_left:.6f} are left of this month's budget: the job would be refused"]


def _of_request(runtime: Runtime, params: JobOptions, request: JobRequest) -> list[str]:
    texts, card = [], runtime.cards[request.model]
    if card.sandbox:
        texts.append(f"{card.name} is a sandbox: it only draws a placeholder")
    seconds, wanted = request.duration_seconds, getattr(params, "duration_seconds", None)
    if seconds is not None and wanted not in (None, seconds):
        texts.append(
            f"{wanted:g} s becomes {request.num_frames} frames at "
            f"{request.fps} fps, which is {seconds:.3f} s"
        )
    ref = next(iter(request.media.values()), None) if request.kind == "video" else None
    if ref is not None and ref.width is None and (params.width is None or params.height is None):
        texts.append(
            f"the size of the input is not known yet: {request.width}x{request.height} is the "
            "model's default; set width and height for another aspect ratio"
        )
    if isinstance(request, AvatarRequest) and request.seconds_range is not None:
        shortest, longest = request.seconds_range
        texts.append(
            f"the video will be as long as what is spoken, which is not known yet: {shortest:.1f} "
            f"to {longest:.1f} s; the cost is that of {request.expected_frames / request.fps:.1f} s"
        )
    if params.seed is None:
        texts.append("no seed was given: every job gets a random one of its own")
    if runtime.workers.of_model(card.name).count == 0:
        texts.append(runtime.workers.why_waiting(card.name))
    return texts
