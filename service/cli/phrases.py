"""Format fields of the API's responses for people; no printing here."""

from datetime import UTC, datetime
from typing import Any

from service.domain.job import FINAL
from service.domain.models.catalog import CARDS

Json = dict[str, Any]


def is_final(job: Json) -> bool:
    return job["status"] in FINAL


def activity(job: Json) -> str:
    """Format as `generate, step 3 of 8`; without a stage, return the state."""
    if job["cancel_requested_at"] and not is_final(job):
        return "stopping"
    if job["status"] == "queued" and job["stage_detail"]:
        return f"queued, {job['stage_detail']}"
    if job["status"] != "running" or not job["stage"]:
        again = job["status"] == "queued" and job["attempts"]
        return f"queued again after attempt {job['attempts']}" if again else str(job["status"])
    if _loads_weights(job):
        return "load (the first time, the weights are downloaded)"
    return ", ".join(filter(None, [job["stage"], job["stage_detail"]]))


def _loads_weights(job: Json) -> bool:
    card = CARDS.get(job["model"])
    return job["stage"] == "load" and card is not None and card.weights != ()


def wait(job: Json) -> str:
    """Format as `2 jobs ahead, about 40 s left`."""
    position, eta = job["queue_position"], job["eta_seconds"]
    parts = []
    if position:
        parts.append(f"{position} job{'s' if position > 1 else ''} ahead")
    # The estimate is that of a warm worker: loading, and a download, come on top of it.
    # Nor does it know when what a queued job waits for, such as its voice, is there.
    if job["status"] == "queued" and job["stage_detail"]:
        return ", ".join(parts)
    if eta is not None and not _loads_weights(job):
        parts.append(f"about {seconds(eta)} left")
    elif position is not None:
        parts.append("no worker for its model yet")
    return ", ".join(parts)


def seconds(number: float) -> str:
    if number < 100:
        return f"{max(1, round(number))} s"
    return f"{round(number / 60)} min" if number < 7200 else f"{number / 3600:.1f} h"


def failure(job: Json) -> str:
    """Say in a sentence why a final job has no video."""
    error = job["error"] or {}
    if job["status"] == "expired":
        return f"job {job['id']} expired: no worker started it in time"
    if not error:
        return f"job {job['id']} was canceled"
    place = f" during {error['stage']}" if error["stage"] else ""
    retry = f"; try `rushes retry {job['id']}`" if error["retryable"] else ""
    # A retry has the same limit again.
    again = "; submit it again with a longer --timeout" if error.get("kind") == "timeout" else retry
    return f"job {job['id']} failed{place}: {error['message']} ({error['code']}){again}"


def video(result: Json) -> str:
    """Format as `768x512, 121 frames at 24 fps, 5.04 s, 1.3 MB`."""
    return (
        f"{result['width']}x{result['height']}, {result['num_frames']} frames at "
        f"{result['fps']} fps, {result['duration_seconds']:.2f} s, {size(result['bytes'])}"
    )


def request(body: Json) -> str:
    """Format as `768x512, 121 frames at 24 fps, 30 steps, seed 7`, without what does not apply."""
    length = f"{body['num_frames']} frames " if body["num_frames"] else ""
    steps = f"{body['num_inference_steps']} steps" if body["num_inference_steps"] else ""
    spoken = "" if length else "as long as the speech"
    parts = [f"{length}at {body['fps']} fps", spoken, steps, f"seed {body['seed']}"]
    size = f"{body['width']}x{body['height']}"
    return (f"{size}, " if length else f"{size} ") + ", ".join(filter(None, parts))


def subject(body: Json) -> str:
    """Return the prompt of a request, or the text that is spoken."""
    return str(body["prompt"] or body.get("text") or "")


def warnings(job: Json) -> list[tuple[str, str]]:
    return [("warning", text) for text in job["result"]["warnings"]]


def model(job: Json) -> str:
    if job["sandbox"]:
        return (
            f"{job['model']}, the sandbox: a placeholder with your prompt on it, nothing generated"
        )
    return str(job["model"])


def size(size_bytes: int) -> str:
    if size_bytes < 1_000_000:
        return f"{size_bytes / 1e3:.0f} kB"
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes < 1e9 else f"{size_bytes / 1e9:.1f} GB"


def usd(amount: float) -> str:
    """Format to the cent, and amounts below one dollar to the millionth."""
    if amount >= 1 or amount == 0:
        return f"{amount:.2f}"
    return f"{amount:.6f}"


def cost(cost: Json) -> str:
    """Format the actual cost, else the estimate; empty for a job that costs nothing."""
    if cost["actual_usd"] is None:
        return f"${usd(cost['estimated_usd'])} expected" if cost["estimated_usd"] else ""
    if not cost["actual_usd"] and not cost["gpu_seconds"]:
        return ""
    return f"${usd(cost['actual_usd'])} for {cost['gpu_seconds']:.1f} s, {cost['rate_source']}"


def when(timestamp: str | None) -> str:
    """Format in the local time zone."""
    if timestamp is None:
        return ""
    return f"{datetime.fromisoformat(timestamp).astimezone():%Y-%m-%d %H:%M}"


def age(timestamp: str | None) -> str:
    """Format the time since then in its largest unit."""
    if timestamp is None:
        return ""
    age_seconds = (datetime.now(UTC) - datetime.fromisoformat(timestamp)).total_seconds()
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if age_seconds >= length:
            return f"{age_seconds / length:.0f} {unit}"
    return f"{max(0.0, age_seconds):.0f} s"


def one_line(text: str) -> str:
    """Remove control characters: a prompt must not move the cursor or change colours."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
