"""A process dies at each failpoint in turn; afterwards everything ends as if it had not."""

import base64
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from standardwebhooks import Webhook

from service.failpoint import FAILPOINTS
from tests.chaos.api_alone import ApiAlone, api_alone
from tests.chaos.patient import Patient
from tests.chaos.scale import rounds, tell
from tests.chaos.sqlite_file import PendingCommit, change, let_leases_end, rows
from tests.chaos.worker_alone import TOKEN, worker_alone
from tests.speech.provider import KEY as PROVIDER_KEY
from tests.speech.provider import VOICE, serve
from tests.webhooks.receiver import Receiver, body_of, receiving
from tests.workers.avatars import FACES
from tests.workers.inputs.pictures import gradient, saved

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

T = TypeVar("T")

_DIED = 137  # `kill -9` from outside would be -9: this one died where it was told to
_MAX_WAIT = 200  # seconds; a long run waits for leases of a minute


@dataclass
class Scene:
    """An API that may die at a failpoint, its client, and a webhook receiver that stays."""

    folder: Path
    api: ApiAlone
    client: Patient
    receiver: Receiver

    def order(self, **more: Any) -> str:
        """Submit the one job that there is."""
        ask = {"prompt": "a red ball", "width": 64, "height": 64, "num_frames": 2, **more}
        answer = self.client.send(
            "POST",
            "/generate-video",
            json={**ask, "webhook_url": self.receiver.url("ok")},
            headers={"Idempotency-Key": "order"},
        )
        assert answer.status_code == 202, answer.text
        self.client.replayed += answer.headers.get("Idempotency-Replayed") == "true"
        return str(answer.json()["id"])

    def cancel(self, job_id: str) -> None:
        assert self.client.send("POST", f"/v1/jobs/{job_id}/cancel").status_code == 200

    def die(self) -> None:
        """Wait until the API has died at its failpoint."""
        assert self.api.process is not None
        assert self.api.process.wait(_MAX_WAIT) == _DIED

    def come_back(self, *held: PendingCommit, failpoint: str = "") -> None:
        """Start the API again, once the leases in those tables are over."""
        self.api.end()
        let_leases_end(self.folder, *held)
        self.api.environment["RUSHES_FAILPOINT"] = failpoint
        self.api.start()

    def survive(self, act: Callable[[], T], *held: PendingCommit) -> T:
        """What `act` answers in the end: the API dies under it and comes back."""
        with ThreadPoolExecutor(1) as pool:
            acting = pool.submit(act)
            self.die()
            self.come_back(*held)
            return acting.result()

    def end_of(self, job_id: str) -> dict[str, Any]:
        """The job once it is final."""
        return self.until(
            lambda: self.client.get(f"/v1/jobs/{job_id}?wait=1"),
            lambda job: job["finished_at"] is not None,
        )

    def delivery(self) -> dict[str, Any]:
        """The only one that there ever was, once it has arrived."""
        (found,) = self.until(
            lambda: self.client.get("/v1/webhook-deliveries")["data"],
            lambda owed: [one["status"] for one in owed] == ["delivered"],
        )
        assert isinstance(found, dict)
        return found

    def until(self, look: Callable[[], T], holds: Callable[[T], bool]) -> T:
        deadline = time.monotonic() + _MAX_WAIT
        while not holds(found := look()):
            assert time.monotonic() < deadline, f"still {found}"
            time.sleep(0.05)
        return found

    def requests(self) -> list[dict[str, Any]]:
        """What the receiver got, each with a signature that holds."""
        secret = Webhook(self.client.get("/v1/webhook-secret")["secret"])
        got = self.receiver.got()
        for one in got:
            secret.verify(body_of(one), one["headers"])
        return got

    def generations(self, job_id: str) -> list[str]:
        """The folder of each attempt that has finished a video."""
        found = (self.folder / "artifacts/jobs" / job_id).glob("*/manifest.json")
        return [path.parent.name for path in found]

    def outcomes(self) -> list[str]:
        """How each attempt ended, in their order."""
        found = rows(self.folder, "SELECT outcome FROM attempts ORDER BY number")
        return [outcome for (outcome,) in found]


@contextmanager
def scene(folder: Path, api_failpoint: str = "", **settings: Any) -> Iterator[Scene]:
    values = {
        "failpoint": api_failpoint,
        "worker_token": TOKEN,
        "running_lease_seconds": 2,
        "webhooks_allow_loopback": True,
        **settings,
    }
    with ExitStack() as stack:
        receiver = stack.enter_context(receiving(folder / "received"))
        api = stack.enter_context(api_alone(folder, **values))
        client = Patient(api.url)
        stack.callback(client.close)
        yield Scene(folder, api, client, receiver)


def test_a_picture_that_was_kept_without_its_job_is_collected(tmp_path: Path) -> None:
    picture = base64.b64encode(saved(gradient(), "PNG")).decode()
    days = 1e-6  # else only after those that a job is kept
    with scene(tmp_path, "inputs.kept", keep_days=days, keep_jobs_days=days) as here:
        job_id = here.survive(lambda: here.order(image=picture), "turns")
        inputs = tmp_path / "artifacts/inputs"
        left = here.until(
            lambda: [path.name for path in inputs.iterdir()], lambda names: len(names) == 1
        )

        found = [job["id"] for job in here.client.jobs()]
        tell("inputs.kept", cut_off=here.client.cut_off, kept=len(left))
    assert (here.client.cut_off, here.client.replayed) == (1, 0)
    assert found == left == [job_id]
    assert not list((tmp_path / "incoming").iterdir())


def test_a_submit_whose_answer_was_lost_has_made_one_job(tmp_path: Path) -> None:
    with scene(tmp_path, "submit.committed") as here:
        job_id = here.survive(here.order)

        found = [job["id"] for job in here.client.jobs()]
        queue = here.client.get("/health")["queue"]
        tell("submit.committed", cut_off=here.client.cut_off, rows=len(found))
    assert (here.client.cut_off, here.client.replayed) == (1, 1)
    assert found == [job_id]
    assert queue == {"queued": 1, "running": 0}


def test_a_text_that_was_spoken_is_paid_once(tmp_path: Path) -> None:
    with serve() as provider:
        account = {"elevenlabs_api_key": PROVIDER_KEY, "elevenlabs_url": provider.url}
        with scene(tmp_path, "speech.kept", models=["slate", "puppet"], **account) as here:
            picture = base64.b64encode(FACES["zuri"].read_bytes()).decode()
            body = {"text": "Hello.", "voice": f"elevenlabs-{VOICE}", "reference_image": picture}
            answer = here.client.send("POST", "/generate-avatar", json=body)
            here.die()
            spoken = rows(tmp_path, "SELECT speech IS NULL, actual_microusd FROM jobs")
            here.come_back("turns")
            job = here.until(
                lambda: here.client.get(f"/v1/jobs/{answer.json()['id']}"),
                lambda job: job["cost"]["speech"] is not None,
            )

        tell("speech.kept", requests=len(provider.requests))
    assert spoken == [(1, None)]
    assert job["cost"]["speech"]["characters"] == 3  # the stand-in counts half
    assert job["cost"]["actual_usd"] == pytest.approx(0.0003)
    assert len(provider.requests) == 1


def test_a_ticket_that_was_lost_costs_a_lease_and_no_attempt(tmp_path: Path) -> None:
    """Lost three times in a long run: more often than workers may be lost."""
    times = rounds(1, 3)
    with scene(tmp_path, "claim.committed") as here:
        job_id = here.order()
        with worker_alone(here.api):
            for _ in range(times - 1):
                here.die()
                here.come_back("jobs", "turns", failpoint="claim.committed")
            job = here.survive(partial(here.end_of, job_id), "jobs", "turns")

        tell("claim.committed", deaths=times, generations=len(here.generations(job_id)))
        assert job["status"] == "succeeded", job
        assert here.outcomes() == ["lapsed"] * times + ["succeeded"]
        assert len(here.generations(job_id)) == 1


def test_a_worker_that_did_not_hear_its_fence_begins_again_and_goes_on(tmp_path: Path) -> None:
    with scene(tmp_path, "begin.committed") as here:
        job_id = here.order()
        with worker_alone(here.api):
            job = here.survive(partial(here.end_of, job_id))

        ((fence,),) = rows(tmp_path, "SELECT fence FROM jobs")
        tell("begin.committed", fence=fence, generations=len(here.generations(job_id)))
        assert (job["status"], job["attempts"]) == ("succeeded", 1)
        assert here.outcomes() == ["succeeded"]
        assert fence >= 3  # claimed, begun, and begun again until an answer came through
        assert [kept.split("-")[0] for kept in here.generations(job_id)] == ["3"]


def test_a_video_whose_worker_died_before_it_said_so_is_adopted(tmp_path: Path) -> None:
    with scene(tmp_path) as here:
        job_id = here.order()
        with worker_alone(here.api, failpoint="worker.kept") as worker:
            assert worker.wait(_MAX_WAIT) == _DIED
        kept = here.generations(job_id)
        with worker_alone(here.api):
            job = here.end_of(job_id)
            here.delivery()

        tell("worker.kept", generations=len(here.generations(job_id)))
        assert (job["status"], job["attempts"]) == ("succeeded", 1)
        assert here.outcomes() == ["succeeded"]
        assert len(kept) == 1
        assert here.generations(job_id) == kept
        video = here.client.send("GET", f"/v1/jobs/{job_id}/content")
        assert video.content[4:8] == b"ftyp"


def test_a_finish_whose_answer_was_lost_is_said_again_and_counts_once(tmp_path: Path) -> None:
    with scene(tmp_path, "finish.committed") as here:
        job_id = here.order()
        with worker_alone(here.api) as worker:
            # The webhook of this very finish may have been under way as well.
            job = here.survive(partial(here.end_of, job_id), "deliveries")
            delivery = here.delivery()
            log = here.until(
                lambda: (tmp_path / "log").read_text(),
                lambda log: "attempt finished" in log or "attempt is lost" in log,
            )
            assert worker.poll() is None

        got = here.requests()
        tell("finish.committed", requests=len(got), generations=len(here.generations(job_id)))
        assert (job["status"], job["attempts"]) == ("succeeded", 1)
        assert here.outcomes() == ["succeeded"]
        assert len(here.generations(job_id)) == 1
        assert "attempt is lost" not in log
        assert delivery["event"] == "job.succeeded"
        assert {one["headers"]["webhook-id"] for one in got} == {delivery["id"]}


def test_a_webhook_that_was_taken_and_not_sent_is_sent(tmp_path: Path) -> None:
    with scene(tmp_path, "webhook.taken") as here:
        job_id = here.order()
        here.survive(partial(here.cancel, job_id), "deliveries")
        delivery = here.delivery()

        (got,) = here.requests()
        tell("webhook.taken", requests=1)
        assert got["headers"]["webhook-id"] == delivery["id"]
        assert json.loads(body_of(got))["data"]["id"] == job_id


def test_a_webhook_that_was_sent_and_not_recorded_is_sent_again_the_same(tmp_path: Path) -> None:
    with scene(tmp_path, "webhook.sent") as here:
        job_id = here.order()
        here.survive(partial(here.cancel, job_id), "deliveries")
        delivery = here.delivery()

        got = here.requests()
        tell("webhook.sent", requests=len(got))
        assert [one["headers"]["webhook-id"] for one in got] == [delivery["id"]] * 2
        assert got[0]["body"] == got[1]["body"]
        assert json.loads(body_of(got[0]))["data"]["id"] == job_id


def test_a_job_whose_bytes_are_gone_is_purged_in_the_end(tmp_path: Path) -> None:
    days = 1e-6
    with scene(tmp_path, "purge.bytes_gone", keep_days=days, keep_jobs_days=days) as here:
        job_id = here.order()
        with worker_alone(here.api):
            assert here.end_of(job_id)["status"] == "succeeded"
        change(tmp_path, "UPDATE jobs SET purge_at = 0")  # else in an hour
        here.die()
        bytes_left = (tmp_path / "artifacts/jobs" / job_id).exists()
        rows_left = rows(tmp_path, "SELECT id FROM jobs")
        here.come_back("turns")

        answer = here.until(
            lambda: here.client.send("GET", f"/v1/jobs/{job_id}"),
            lambda answer: answer.status_code == 404,
        )
        tell("purge.bytes_gone", rows_left=len(rows(tmp_path, "SELECT id FROM jobs")))
    assert not bytes_left
    assert rows_left == [(job_id,)]
    assert answer.json()["code"] == "not_found"


_TESTED = {
    "inputs.kept": test_a_picture_that_was_kept_without_its_job_is_collected,
    "submit.committed": test_a_submit_whose_answer_was_lost_has_made_one_job,
    "speech.kept": test_a_text_that_was_spoken_is_paid_once,
    "claim.committed": test_a_ticket_that_was_lost_costs_a_lease_and_no_attempt,
    "begin.committed": test_a_worker_that_did_not_hear_its_fence_begins_again_and_goes_on,
    "finish.committed": test_a_finish_whose_answer_was_lost_is_said_again_and_counts_once,
    "worker.kept": test_a_video_whose_worker_died_before_it_said_so_is_adopted,
    "webhook.taken": test_a_webhook_that_was_taken_and_not_sent_is_sent,
    "webhook.sent": test_a_webhook_that_was_sent_and_not_recorded_is_sent_again_the_same,
    "purge.bytes_gone": test_a_job_whose_bytes_are_gone_is_purged_in_the_end,
}


def test_every_failpoint_is_tested_here() -> None:
    assert set(_TESTED) == set(FAILPOINTS)
