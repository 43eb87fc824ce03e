"""The clock of the machine is set while the service runs."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.journey import hand
from tests.journey.service import Running, running

VIDEO = b"as if it were a video"
HOUR = 3600
EIGHT_DAYS = 8 * 24 * HOUR

pytestmark = pytest.mark.slow


@dataclass
class Watched:
    """A service whose clock can be set, and workers that the test plays by hand."""

    service: Running
    offset: Path

    def set_clock(self, offset: int) -> None:
        """Set it to `offset` seconds from the true time; returns once the service has seen it."""
        jumps = self.service.log().count("clock was set")
        part = self.offset.with_suffix(".part")
        part.write_text(str(offset))
        part.replace(self.offset)
        job = self.service.submit()["id"]
        self.service.until(job, lambda _: self.service.log().count("clock was set") > jumps)
        self.service.client.post(f"/v1/jobs/{job}/cancel")

    def begin(self) -> tuple[dict[str, Any], dict[str, Any]]:
        self.service.submit(timeout_seconds=600)
        return hand.begin(self.service)

    def finish(self) -> str:
        self.service.submit()
        return hand.finish(self.service, VIDEO)

    def report(self, ticket: dict[str, Any], act: str, **body: Any) -> httpx.Response:
        return hand.report(self.service, ticket, act, **body)

    def let_a_grace_pass(self, ticket: dict[str, Any], fence: int) -> None:
        """Until another worker that says nothing was given up, so that deadlines were judged;
        the one that holds `ticket` reports meanwhile."""
        silent, _ = self.begin()

        def given_up(job: dict[str, Any]) -> bool:
            told = {"stage": "generate", "fraction": 0.5}
            assert self.report(ticket, "progress", fence=fence, progress=told).status_code == 200
            return bool(job["status"] == "queued")

        self.service.until(silent["job_id"], given_up)
        self.service.client.post(f"/v1/jobs/{silent['job_id']}/cancel")


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    offset = tmp_path / "offset"
    offset.write_text("0")
    monkeypatch.setenv("SET_CLOCK", str(offset))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).with_name("set_clock")))
    settings = {"worker_token": hand.TOKEN, "running_lease_seconds": 5}
    with running(tmp_path / "up", "--workers", "0", **settings) as service:
        yield Watched(service, offset)


@pytest.mark.parametrize("offset", [HOUR, EIGHT_DAYS, -HOUR])
def test_a_job_that_runs_while_the_clock_is_set_goes_on(watched: Watched, offset: int) -> None:
    ticket, begun = watched.begin()

    watched.set_clock(offset)
    watched.let_a_grace_pass(ticket, begun["fence"])

    job = watched.service.job(ticket["job_id"])
    assert (job["status"], job["attempts"]) == ("running", 1), job
    assert watched.report(ticket, "release", fence=begun["fence"]).status_code == 200


def test_every_video_is_there_though_the_clock_was_eight_days_ahead(watched: Watched) -> None:
    made = [watched.finish() for _ in range(3)]
    ticket, begun = watched.begin()

    for offset in (EIGHT_DAYS, 0):
        watched.set_clock(offset)
        watched.let_a_grace_pass(ticket, begun["fence"])

    for job_id in made:
        answer = watched.service.client.get(f"/v1/jobs/{job_id}/content")
        assert (answer.status_code, answer.content) == (200, VIDEO)


def test_jobs_are_listed_as_they_came_though_the_clock_was_set_back(watched: Watched) -> None:
    before = [watched.service.submit()["id"] for _ in range(2)]
    watched.set_clock(-HOUR)

    after = [watched.service.submit()["id"] for _ in range(2)]

    listed = watched.service.client.get("/v1/jobs", params={"order": "asc"}).json()["data"]
    found = [job["id"] for job in listed if job["id"] in before + after]
    assert found == before + after
    page = {"order": "asc", "after": before[-1]}
    behind = watched.service.client.get("/v1/jobs", params=page).json()["data"]
    assert [job["id"] for job in behind][-2:] == after
