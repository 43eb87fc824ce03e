"""A worker that a test plays by hand, against a service that runs as its owner runs it."""

from pathlib import Path
from typing import Any

import httpx

from service.artifacts.files import Files
from tests.journey.service import Running

TOKEN = "a-token-for-tests-a-token-for-tests"


def begin(service: Running) -> tuple[dict[str, Any], dict[str, Any]]:
    """Take the next job and begin it: its ticket, and what begin answered."""
    ask = {"worker": "w", "models": ["slate"], "wait_seconds": 20}
    worker = {"Authorization": f"Bearer {TOKEN}"}
    ticket = service.client.post("/internal/claims", json=ask, headers=worker).json()
    return ticket, report(service, ticket, "begin", call_id=ticket["token"]).json()


def report(service: Running, ticket: dict[str, Any], act: str, **body: Any) -> httpx.Response:
    return service.client.post(
        f"/internal/attempts/{ticket['job_id']}.{ticket['attempt']}/{act}",
        json=body,
        headers={"Authorization": f"Bearer {ticket['token']}"},
    )


def finish(service: Running, content: bytes) -> str:
    """Take the next job and finish it with these bytes; answers its id."""
    ticket, begun = begin(service)
    facts = keep(service.folder / "data", ticket, begun["artifact_prefix"], content)
    outcome = {"facts": facts, "timings_ms": {"total": 1234}}
    answer = report(service, ticket, "finish", fence=begun["fence"], outcome=outcome)
    assert answer.status_code == 200, answer.text
    return str(ticket["job_id"])


def keep(data: Path, ticket: dict[str, Any], prefix: str, content: bytes) -> dict[str, Any]:
    """Put the bytes where they belong; the facts that tell of them."""
    artifacts, scratch = Files(data / "artifacts"), data / "by-hand"
    asked = ticket["request"]
    facts = {name: asked[name] for name in ("width", "height", "fps", "num_frames")}
    for name in ("video", "thumbnail", "last_frame"):
        scratch.write_bytes(content)
        facts[name] = artifacts.put(f"{prefix}/{name}", scratch, "video/mp4").model_dump()
    return facts
