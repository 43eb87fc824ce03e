"""A deployed service, as a test sees it: over HTTP, and from behind with the tester's hand."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import modal

from dev.loopback_modal.harness import LoopbackModal

CHECKOUT = Path(__file__).parents[2]
SCRIPT = "scripts/modal_text_to_video.py"
KEY = "a-key-for-modal-a-key-for-modal"
SMALL = {"prompt": "a red ball", "width": 64, "height": 64, "num_frames": 2}
# About two seconds of work, and about a minute.
MEDIUM = {**SMALL, "width": 640, "height": 640, "num_frames": 240}
LONG = {**SMALL, "width": 1280, "height": 1280, "num_frames": 2400}

Json = dict[str, Any]


@dataclass
class Live:
    """One deployed App; `app` is its name."""

    cloud: LoopbackModal
    client: httpx.Client
    app: str

    def submit(self, **ask: Any) -> Json:
        answer = self.client.post("/generate-video", json={**SMALL, **ask})
        assert answer.status_code == 202, answer.text
        job: Json = answer.json()
        return job

    def job(self, job_id: str) -> Json:
        answer = self.client.get(f"/v1/jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        job: Json = answer.json()
        return job

    def cancel(self, job_id: str) -> None:
        assert self.client.post(f"/v1/jobs/{job_id}/cancel").status_code in (200, 202)

    def until(self, job_id: str, holds: Callable[[Json], Any], seconds: float = 60) -> Json:
        deadline = time.monotonic() + seconds
        while not holds(job := self.job(job_id)):
            assert time.monotonic() < deadline, f"{job}\n{self.cloud.story()}"
            time.sleep(0.1)
        return job

    def at_work(self, job_id: str) -> Json:
        """The job, once the first of its frames are made."""
        return self.until(job_id, lambda job: job["stage"] == "generate")

    def done(self, job_id: str, seconds: float = 90) -> Json:
        return self.until(job_id, lambda job: job["finished_at"], seconds)

    def containers(self, function: str = "Slate.*") -> list[Json]:
        found = self.cloud.containers(function)
        return [container for container in found if container["app"] == self.app]

    def crash(self, function: str = "Slate.*") -> None:
        """Leaves no container of this Function."""
        for container in self.containers(function):
            self.cloud.crash(container["task"])
        self.cloud.wait(lambda: not self.containers(function))

    def calls(self, job_id: str) -> list[Json]:
        """The calls that were made for this job, oldest first."""
        found = self.cloud.get("calls", app=self.app)
        return [call for call in found if call["method"] == "run" and job_id in call["args"]]

    def clips(self, job_id: str) -> list[str]:
        """The whole clips on the Volume that were made for this job."""
        files = self.cloud.volumes()[f"{self.app}-artifacts"]["files"]
        return [name for name in files if job_id in name and name.endswith("video.mp4")]


def secrets(database_url: str, **more: str) -> dict[str, str]:
    return {
        "RUSHES_DATABASE_URL": database_url,
        "RUSHES_WORKER_TOKEN": "a-token-for-modal-a-token-for-modal",
        "RUSHES_SECRET": "a-secret-for-modal-a-secret-for-modal",
        "RUSHES_BOOTSTRAP_KEY": KEY,
        **more,
    }


@contextmanager
def deployed(
    cloud: LoopbackModal,
    app: str,
    told: dict[str, str],
    settings: dict[str, Any],
    source: Path = CHECKOUT,
) -> Iterator[Live]:
    """The script of `source` deployed under a name of its own, with the Secret of that name."""
    make_secret(cloud, app, told)
    before = dict(cloud.env)
    cloud.env |= {f"RUSHES_{name.upper()}": text(value) for name, value in settings.items()}
    cloud.env |= {"RUSHES_MODAL_APP": app}
    cloud.deploy(SCRIPT, cwd=source)  # where the source is looked for first
    cloud.env = before
    with calling(f"{cloud.http}/web/{app}-api", KEY) as client:
        yield Live(cloud, client, app)
    for container in cloud.containers():  # they would look at their database every second
        if container["app"] == app:
            cloud.crash(container["task"])


def make_secret(cloud: LoopbackModal, name: str, told: dict[str, str]) -> None:
    with cloud.client() as client:
        modal.Secret.objects.create(name, told, client=client)


def text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def calling(url: str, key: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {key}"}
    limits = httpx.Limits(max_connections=None)
    return httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False, limits=limits)


@contextmanager
def at_most(live: Live, containers: int, function: str = "Slate") -> Iterator[None]:
    """Modal gives room for so many containers, whatever was deployed."""
    with live.cloud.client() as client:
        if function == "Slate":
            scaled = modal.Cls.from_name(live.app, function, client=client)().run
        else:
            scaled = modal.Function.from_name(live.app, function, client=client)
        before = scaled.autoscaler.settings().max_containers
        scaled.autoscaler.update(max_containers=containers)
        try:
            yield
        finally:
            scaled.autoscaler.update(max_containers=before)
