"""Workers are killed while they work: every job ends, once, and no finished video is made again."""

import os
import random
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.patient import NO_LIMITS, Patient
from tests.chaos.scale import rounds, tell
from tests.journey.service import Running, running

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not Path("/proc").exists(), reason="finds processes in /proc"),
]

_LEASE_SECONDS = 2
_SECONDS = 420.0  # within which another job must have ended


def test_every_job_ends_once_and_nothing_finished_is_made_again(tmp_path: Path) -> None:
    settings = {**NO_LIMITS, "running_lease_seconds": _LEASE_SECONDS}
    with (
        running(tmp_path, "--workers", "2", **settings) as service,
        closing(Patient(str(service.client.base_url))) as client,
    ):
        ids = {client.submit(f"job-{n}") for n in range(rounds(25, 2000))}
        killer = Killer(
            service,
            most=rounds(4, 1000),
            max_pause=rounds(1, 2),
            spare_seconds=rounds(0, 5),
        )
        with killer.running():
            jobs = _watch_to_the_end(client, service)

        made = {job["id"]: _manifests(tmp_path, job) for job in jobs}
        needless = [job["id"] for job in jobs if _was_needless(job, made[job["id"]])]
        failed = [job for job in jobs if job["status"] != "succeeded"]
        lost, adopted = _count_attempts(tmp_path)
        tell(
            "killed workers",
            jobs=len(jobs),
            kills=killer.kills,
            aimed=killer.aimed,
            attempts=sum(job["attempts"] for job in jobs),
            lost_attempts=lost,
            failed=len(failed),
            adopted=adopted,
            needless=len(needless),
        )
        assert {job["id"] for job in jobs} == ids
        assert killer.kills > 0
        assert {job["error"]["kind"] for job in failed} <= {"lost"}
        assert not needless


@dataclass
class Killer:
    """Kills a worker at random moments; about half die when a video was just finished.

    Between the manifest and the worker's word of it lie milliseconds, which chance seldom meets.
    """

    service: Running
    most: int
    max_pause: float
    spare_seconds: float  # a supervisor lets one that died younger than 5 s wait ever longer
    kills: int = 0
    aimed: int = 0
    _chance: random.Random = field(default_factory=lambda: random.Random(2))
    _enough: threading.Event = field(default_factory=threading.Event)
    _first_seen: dict[int, float] = field(default_factory=dict)

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self._kill_on)
        thread.start()
        try:
            yield
        finally:
            self._enough.set()
            thread.join()

    def _kill_on(self) -> None:
        with closing(Patient(str(self.service.client.base_url))) as client:
            while self.kills < self.most and not self._enough.wait(self._pause()):
                workers = self._old_enough()
                aimed = self.aimed * 2 <= self.kills and self._see_a_manifest(client)
                for worker in workers if aimed else workers[:1]:
                    with suppress(ProcessLookupError):  # it has ended meanwhile
                        os.kill(worker, signal.SIGKILL)
                    self.kills += 1
                    self.aimed += aimed

    def _pause(self) -> float:
        return self._chance.uniform(0.3, self.max_pause)

    def _old_enough(self) -> list[int]:
        """In random order."""
        now = time.monotonic()
        workers = [
            worker
            for worker in self.service.children("worker")
            if now - self._first_seen.setdefault(worker, now) >= self.spare_seconds
        ]
        return self._chance.sample(workers, len(workers))

    def _see_a_manifest(self, client: Patient) -> bool:
        """Look closely at what is worked on, until one of these has all its bytes."""
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline and not self._enough.is_set():
            work = client.get("/v1/jobs?status=starting,running&limit=2")["data"]
            folders = [self.service.folder / "data/artifacts/jobs" / job["id"] for job in work]
            unfinished = [folder for folder in folders if not _has_manifest(folder)]
            look_again = time.monotonic() + 0.05
            while time.monotonic() < look_again:
                if any(map(_has_manifest, unfinished)):
                    return True
        return False


def _has_manifest(folder: Path) -> bool:
    return any(True for _ in folder.glob("*/manifest.json"))


def _watch_to_the_end(client: Patient, service: Running) -> list[dict[str, Any]]:
    """The jobs once all are final; one that was final before is to stay as it was."""
    ended: dict[str, tuple[str, int, str]] = {}
    deadline = time.monotonic() + _SECONDS
    while True:
        jobs, before = client.jobs(), len(ended)
        for job in jobs:
            end = (job["status"], job["attempts"], job["finished_at"])
            if job["finished_at"] is not None or job["id"] in ended:
                assert ended.setdefault(job["id"], end) == end, "a final job has changed"
        if len(ended) == len(jobs):
            return jobs
        if len(ended) > before:
            deadline = time.monotonic() + _SECONDS
        assert time.monotonic() < deadline, f"{len(jobs) - len(ended)} wait\n{service.log()}"
        time.sleep(rounds(1, 3))


def _manifests(folder: Path, job: dict[str, Any]) -> list[float]:
    """When each attempt at this job had finished its bytes."""
    found = (folder / "data/artifacts/jobs" / job["id"]).glob("*/manifest.json")
    return [path.stat().st_mtime for path in found]


def _was_needless(job: dict[str, Any], made: list[float]) -> bool:
    """Whether bytes were complete, and yet the job failed or began once more."""
    if job["status"] != "succeeded":
        return bool(made)
    return any(moment < datetime.fromisoformat(job["started_at"]).timestamp() for moment in made)


def _count_attempts(folder: Path) -> tuple[int, int]:
    """Those that were lost, and those that succeeded although their worker had fallen silent."""
    adopted = f"""
        outcome = 'succeeded'
        AND ended_at - coalesce(heartbeat_at, started_at) > {_LEASE_SECONDS * 1_000_000}
    """
    with closing(sqlite3.connect(f"file:{folder}/data/rushes.db?mode=ro", uri=True)) as connection:
        lost, adopted_count = (
            connection.execute(f"SELECT count(*) FROM attempts WHERE {condition}").fetchone()[0]
            for condition in ("error_kind = 'lost'", adopted)
        )
        return lost, adopted_count
