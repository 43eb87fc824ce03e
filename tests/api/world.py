"""The service in this process, and a worker that a test plays by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi.testclient import TestClient
from httpx import Response

from service.runtime.runtime import Runtime

KEY = "a-key-for-tests-a-key-for-tests"
WORKER_TOKEN = "a-token-for-tests-a-token-for-tests"
VIDEO = bytes(range(256)) * 40


@dataclass
class World:
    client: TestClient

    @property
    def runtime(self) -> Runtime:
        found: Runtime = self.client.app.state.runtime  # type: ignore[attr-defined]
        return found

    def submit(self, **ask: Any) -> dict[str, Any]:
        answer = self.client.post("/generate-video", json={"prompt": "a red ball", **ask})
        assert answer.status_code == 202, answer.text
        job: dict[str, Any] = answer.json()
        return job

    def job(self, job_id: str) -> dict[str, Any]:
        job: dict[str, Any] = self.client.get(f"/v1/jobs/{job_id}").json()
        return job

    def other_key(self, *, admin: bool = False) -> str:
        answer = self.client.post("/v1/keys", json={"name": "other", "admin": admin})
        return str(answer.json()["secret"])

    # The worker's side.

    def claim(self, wait: float = 0, **changes: Any) -> Response:
        ask = {"worker": "w1", "models": ["slate"], "wait_seconds": wait, **changes}
        return self.client.post(
            "/internal/claims", json=ask, headers={"Authorization": f"Bearer {WORKER_TOKEN}"}
        )

    def report(self, ticket: dict[str, Any], act: str, **body: Any) -> Response:
        return self.client.post(
            f"/internal/attempts/{ticket['job_id']}.{ticket['attempt']}/{act}",
            json=body,
            headers={"Authorization": f"Bearer {ticket['token']}"},
        )

    def begin(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Claim and begin the next job: its ticket, and what begin answered."""
        ticket = self.claim().json()
        return ticket, self.report(ticket, "begin", call_id=ticket["token"]).json()

    def finish(
        self,
        content: bytes = VIDEO,
        *,
        seams: Sequence[float] = (),
        has_audio: bool = False,
        loop_seam: Mapping[str, float] | None = None,
        **stages_ms: int,
    ) -> str:
        """Take the next job and finish it with `content` as its video; answers its id."""
        ticket, begun = self.begin()
        artifacts, prefix = self.runtime.artifacts, begun["artifact_prefix"]
        names = {
            "video": ("video.mp4", "video/mp4"),
            "thumbnail": ("thumbnail.jpg", "image/jpeg"),
            "last_frame": ("last_frame.png", "image/png"),
        }
        asked = ticket["request"]
        facts: dict[str, Any] = {
            name: asked[name] for name in ("width", "height", "fps", "num_frames")
        }
        facts |= {"seams": list(seams), "has_audio": has_audio, "loop_seam": loop_seam}
        for variant, (name, media_type) in names.items():
            # Where the artifacts of this world lie is its own business; a scratch file will do.
            scratch = artifacts._root.parent / name  # type: ignore[attr-defined]
            scratch.write_bytes(content)
            artifact = artifacts.put(f"{prefix}/{name}", scratch, media_type)
            facts[variant] = artifact.model_dump()
        outcome = {"facts": facts, "timings_ms": {**stages_ms, "total": 1234}}
        answer = self.report(ticket, "finish", fence=begun["fence"], outcome=outcome)
        assert answer.status_code == 200, answer.text
        return str(ticket["job_id"])
