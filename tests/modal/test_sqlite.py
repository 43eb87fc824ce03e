"""The deployment script without a database's address: its containers are killed and replaced."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from dev.loopback_modal.harness import LoopbackModal, loopback_modal, unsupported_reason

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(unsupported_reason()), reason=unsupported_reason()),
]

KEY = "a-key-for-modal-a-key-for-modal"
SCRIPT = "scripts/modal_text_to_video.py"
SMALL = {"prompt": "a red ball", "width": 64, "height": 64, "num_frames": 2}
SECRETS = {
    "RUSHES_WORKER_TOKEN": "a-token-for-modal-a-token-for-modal",
    "RUSHES_SECRET": "a-secret-for-modal-a-secret-for-modal",
    "RUSHES_BOOTSTRAP_KEY": KEY,
    "RUSHES_RUNNING_LEASE_SECONDS": "5",
    "RUSHES_DATABASE_LEASE_SECONDS": "1",
    "RUSHES_MIN_FREE_BYTES": "0",
}


@dataclass
class Service:
    """A deployed service, asked again while nobody owns its database."""

    cloud: LoopbackModal
    client: httpx.Client
    acknowledged: dict[str, str] = field(default_factory=dict)  # name -> job id
    refused: list[httpx.Response] = field(default_factory=list)  # 503, and asked again

    def send(self, method: str, path: str, **values: Any) -> httpx.Response:
        deadline = time.monotonic() + 120
        while True:
            try:
                answer = self.client.request(method, path, **values)
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.status_code < 500:
                return answer
            if answer is not None and answer.status_code == 503:
                self.refused.append(answer)
            told = "" if answer is None else answer.text
            assert time.monotonic() < deadline, f"{told}\n{self.cloud.story()}"
            time.sleep(0.2)

    def submit(self, name: str) -> None:
        headers = {"Idempotency-Key": name}
        answer = self.send("POST", "/generate-video", json=SMALL, headers=headers)
        assert answer.status_code == 202, answer.text
        self.acknowledged[name] = answer.json()["id"]

    def jobs(self) -> list[str]:
        found: list[str] = []
        page: dict[str, Any] = {"has_more": True, "last_id": None}
        while page["has_more"]:
            after = f"&after={page['last_id']}" if page["last_id"] else ""
            page = self.send("GET", f"/v1/jobs?limit=100&order=asc{after}").json()
            found += [job["id"] for job in page["data"]]
        return found

    def kill(self) -> None:
        (owner,) = self.cloud.containers("api")
        self.cloud.crash(owner["task"])

    def kept(self) -> dict[str, int]:
        files: dict[str, int] = self.cloud.volumes()["rushes-database"]["files"]
        return files


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with loopback_modal(tmp_path_factory.mktemp("modal")) as cloud:
        cloud.env["RUSHES_MODELS"] = json.dumps(["slate"])
        cloud.modal("secret", "create", "rushes", *(f"{k}={v}" for k, v in SECRETS.items()))
        cloud.deploy(SCRIPT)
        headers = {"Authorization": f"Bearer {KEY}"}
        url = f"{cloud.http}/web/rushes-api"
        with httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as client:
            yield Service(cloud, client)


def until(holds: Callable[[], Any], service: Service, seconds: float = 90) -> Any:
    deadline = time.monotonic() + seconds
    while not (seen := holds()):
        assert time.monotonic() < deadline, service.cloud.story()
        time.sleep(0.1)
    return seen


def test_a_video_is_made_and_outlives_its_containers(service: Service) -> None:
    service.submit("first")
    job = service.acknowledged["first"]

    def finished() -> Any:
        told = service.send("GET", f"/v1/jobs/{job}").json()
        return told if told["finished_at"] else None

    assert until(finished, service)["status"] == "succeeded"
    service.kill()
    again = service.send("GET", f"/v1/jobs/{job}").json()

    assert again["status"] == "succeeded"
    clip = httpx.get(again["result"]["video_url"], headers={"Range": "bytes=0-99"})
    assert (clip.status_code, clip.content[4:8]) == (206, b"ftyp")
    assert service.cloud.functions()["api"]["autoscaler"]["max_containers"] == 1


@pytest.mark.parametrize("kill", range(50))
def test_what_was_acknowledged_outlives_a_kill(service: Service, kill: int) -> None:
    service.submit(f"kill-{kill}")
    service.kill()  # right after the answer

    assert sorted(service.jobs()) == sorted(service.acknowledged.values())


def test_a_redeploy_under_load_loses_and_forks_nothing(service: Service) -> None:
    """The old container is held by a long poll, so that the new one starts beside it."""
    service.submit("before")
    enough = threading.Event()

    def load(client: int) -> None:
        number = 0
        while not enough.is_set():
            service.submit(f"redeploy-{client}-{number}")
            number += 1

    (old,) = service.cloud.containers("api")
    with ThreadPoolExecutor(4) as pool:
        loads = [pool.submit(load, client) for client in range(2)]
        long_job = service.acknowledged["before"]
        pool.submit(service.client.get, f"/v1/jobs/{long_job}?wait=20")
        service.cloud.deploy(SCRIPT)
        until(lambda: len(service.cloud.containers("api")) == 2, service)
        service.refused.clear()
        before = len(service.acknowledged)
        until(lambda: old["task"] not in tasks(service), service)
        until(lambda: len(service.acknowledged) > before + 10, service)
        enough.set()
    for done in loads:
        done.result()

    found = service.jobs()
    assert sorted(found) == sorted(service.acknowledged.values())
    assert service.refused, "the new container had to wait for the old one"
    assert all(int(answer.headers["Retry-After"]) > 0 for answer in service.refused)


def test_a_redeploy_keeps_a_container_warm(service: Service) -> None:
    """The deploy itself resets the number; a new container of the api sets it again."""
    service.send("PUT", "/v1/models/slate/warm", json={"containers": 1}).raise_for_status()
    before = tasks(service)

    service.cloud.deploy(SCRIPT)
    service.jobs()  # starts the new api

    def new_logs() -> list[str]:
        return [service.cloud.log(task) for task in tasks(service) if task not in before]

    until(lambda: any("containers kept warm again" in log for log in new_logs()), service)
    assert service.cloud.functions()["Slate.*"]["autoscaler"]["min_containers"] == 1
    service.send("PUT", "/v1/models/slate/warm", json={"containers": 0}).raise_for_status()


def test_a_container_that_is_preempted_lets_go_of_the_database(service: Service) -> None:
    service.submit("before-preemption")
    (old,) = service.cloud.containers("api")

    service.cloud.preempt(old["task"])
    until(lambda: old["task"] not in tasks(service), service)

    assert sorted(service.jobs()) == sorted(service.acknowledged.values())
    assert "database released" in service.cloud.log(old["task"])


def tasks(service: Service) -> list[str]:
    return [container["task"] for container in service.cloud.containers("api")]
