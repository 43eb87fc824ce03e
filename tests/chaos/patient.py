"""A client that goes on while the service comes and goes."""

import time
from typing import Any

import httpx

from tests.journey.service import KEY

# Settings of a service that takes whatever it is sent.
NO_LIMITS = {
    "max_queued_per_key": 1_000_000,
    "max_requests_per_second": 0,
    "max_submits_per_second": 0,
}
_SECONDS = 120.0  # for one answer, however often it is asked for


class Patient:
    """Sends the same request again until it is answered."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {KEY}"}, timeout=30, trust_env=False
        )
        self.cut_off = 0  # requests that were under way when the service died
        self.replayed = 0  # submits that an earlier one, whose answer was lost, had made

    def send(self, method: str, path: str, **values: Any) -> httpx.Response:
        deadline = time.monotonic() + _SECONDS
        while True:
            pause = 0.05
            try:
                answer = self._client.request(method, path, **values)
            except httpx.ConnectError:
                pass
            except httpx.TransportError:
                self.cut_off += 1
            else:
                if answer.status_code != 429:
                    return answer
                pause = float(answer.headers["Retry-After"])
            assert time.monotonic() < deadline, f"no answer to {method} {path}"
            time.sleep(pause)

    def get(self, path: str) -> Any:
        answer = self.send("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def submit(self, name: str) -> str:
        """The smallest video there is; `name` is its Idempotency-Key and its label."""
        ask = {"prompt": "a red ball", "width": 64, "height": 64, "num_frames": 2}
        answer = self.send(
            "POST",
            "/generate-video",
            json={**ask, "metadata": {"name": name}},
            headers={"Idempotency-Key": name},
        )
        assert answer.status_code == 202, answer.text
        self.replayed += answer.headers.get("Idempotency-Replayed") == "true"
        return str(answer.json()["id"])

    def jobs(self) -> list[dict[str, Any]]:
        """All of them, first to last."""
        found: list[dict[str, Any]] = []
        page: dict[str, Any] = {"has_more": True, "last_id": None}
        while page["has_more"]:
            after = f"&after={page['last_id']}" if page["last_id"] else ""
            page = self.get(f"/v1/jobs?limit=100&order=asc{after}")
            found += page["data"]
        return found

    def close(self) -> None:
        self._client.close()
