"""The TypeScript receivers of webhooks, called by a live service."""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.clients.node import TSX, TYPESCRIPT, environment, needs_node
from tests.contract.write import ROOT
from tests.journey.service import Running, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), needs_node]

RECEIVE = (*TSX, TYPESCRIPT / "test" / "programs" / "receive.ts")
KINDS = ["express", "express.raw", "node", "hono", "next", "fetch"]


@dataclass
class Receiver:
    """A receiver that runs; `events` are those that it has handled."""

    url: str
    log: Path

    def events(self, count: int = 0) -> list[dict[str, Any]]:
        """Wait until there are so many, and return all."""
        deadline = time.monotonic() + 120
        while True:
            lines = self.log.read_text().splitlines() if self.log.exists() else []
            if len(lines) >= count:
                return [json.loads(line) for line in lines]
            assert time.monotonic() < deadline, lines
            time.sleep(0.05)


@contextmanager
def receiving(kind: str, secret: str, log: Path) -> Iterator[Receiver]:
    process = subprocess.Popen(
        [str(word) for word in (*RECEIVE, kind, secret, log)],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process:
        yield Receiver(f"http://127.0.0.1:{process.stdout.readline().strip()}/hooks", log)
        process.kill()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("webhooks")
    with running(folder, "--workers", "1", webhooks_allow_loopback="1") as found:
        yield found


@pytest.fixture(scope="module")
def secret(service: Running) -> str:
    return str(service.client.get("/v1/webhook-secret").json()["secret"])


@pytest.fixture(scope="module")
def receivers(
    secret: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Receiver]]:
    """A receiver of each kind."""
    folder = tmp_path_factory.mktemp("receivers")
    with ExitStack() as stack:
        yield {kind: stack.enter_context(receiving(kind, secret, folder / kind)) for kind in KINDS}


@pytest.fixture(scope="module")
def jobs(service: Running, receivers: dict[str, Receiver]) -> dict[str, str]:
    """A job for each of them, submitted at once: each is sent a second time after some seconds."""
    return {
        kind: service.submit(webhook_url=receiver.url)["id"] for kind, receiver in receivers.items()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_an_event_is_handled_once_however_often_it_comes(
    service: Running, receivers: dict[str, Receiver], jobs: dict[str, str], kind: str
) -> None:
    job = service.wait(jobs[kind])
    (event,) = receivers[kind].events(1)
    query = {"job_id": job["id"]}
    (delivery,) = service.client.get("/v1/webhook-deliveries", params=query).json()["data"]
    tries = delivery_until(service, delivery["id"], 2)["tries"]
    service.client.post(f"/v1/webhook-deliveries/{delivery['id']}/replay")
    again = delivery_until(service, delivery["id"], 3)["tries"]

    assert event == {
        "type": "job.succeeded",
        "id": job["id"],
        "webhookId": delivery["id"],
        "sha256": job["result"]["sha256"],
    }
    assert [each["status"] for each in tries] == [500, 204]  # it fails at first
    assert again[2]["status"] == 204
    assert len(receivers[kind].events()) == 1


def delivery_until(service: Running, delivery_id: str, tries: int) -> dict[str, Any]:
    deadline = time.monotonic() + 120
    while True:
        found: dict[str, Any] = service.client.get(f"/v1/webhook-deliveries/{delivery_id}").json()
        if len(found["tries"]) >= tries:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_service_did_not_sign_is_refused(
    receivers: dict[str, Receiver], kind: str
) -> None:
    forged = {
        "webhook-id": "dlv_1",
        "webhook-timestamp": str(int(time.time())),
        "webhook-signature": "v1,AAAA v2,AAAA nonsense",
    }
    old = {**forged, "webhook-timestamp": "1700000000"}
    url = receivers[kind].url

    statuses = [
        httpx.post(url, content=b"{}", headers=headers).status_code for headers in (forged, old, {})
    ]

    assert statuses == [401, 401, 401]
    assert httpx.post(url, content=b"x" * 1_100_000, headers=forged).status_code == 413
    assert "dlv_1" not in receivers[kind].log.read_text()


def test_a_secret_that_was_rotated_verifies_for_a_day(service: Running, tmp_path: Path) -> None:
    old = service.client.get("/v1/webhook-secret").json()["secret"]
    service.client.post("/v1/webhook-secret/rotate")
    with receiving("fetch", old, tmp_path / "log") as receiver:
        job_id = service.submit(webhook_url=receiver.url)["id"]

        assert [event["id"] for event in receiver.events(1)] == [job_id]
