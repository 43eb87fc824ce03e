"""What Modal may do to a call, each time with one clip kept at most and the right end."""

from collections.abc import Iterator

import modal
import pytest

from tests.modal.conftest import MARKS
from tests.modal.live import LONG, MEDIUM, Json, Live, at_most

pytestmark = MARKS


@pytest.fixture
def one_container(live: Live) -> Iterator[None]:
    """Two calls may be open, and Modal gives room for one of them."""
    live.crash()
    with at_most(live, 1):
        yield


def made_once(live: Live, job_id: str, attempts: int = 1) -> Json:
    """The job, succeeded with one clip after this many attempts."""
    job = live.done(job_id, seconds=120)
    assert (job["status"], job["attempts"]) == ("succeeded", attempts), job
    assert live.cloud.wait(lambda: live.clips(job_id)) == live.clips(job_id)
    assert len(live.clips(job_id)) == 1
    return job


def test_a_call_that_waits_is_canceled_and_the_one_at_work_is_not(
    live: Live, one_container: None
) -> None:
    working = live.submit(**LONG)
    live.at_work(working["id"])
    (before,) = live.containers()
    waiting = live.submit(**LONG)
    (call,) = live.cloud.wait(lambda: live.calls(waiting["id"]))
    assert call["status"] == "PENDING"

    live.cancel(waiting["id"])

    assert live.done(waiting["id"])["status"] == "canceled"
    assert live.cloud.finished(call["id"])["status"] == "TERMINATED"
    (after,) = live.containers()
    assert after["task"] == before["task"]
    assert live.job(working["id"])["status"] == "running"
    live.cancel(working["id"])
    live.done(working["id"])


def test_a_preempted_container_s_job_is_made_elsewhere_under_the_same_call(live: Live) -> None:
    job = live.submit(**MEDIUM)
    live.at_work(job["id"])
    (container,) = busy(live)

    live.cloud.preempt(container["task"])

    made_once(live, job["id"])
    (call,) = live.calls(job["id"])
    assert call["attempt"] == 1


def test_a_container_that_is_killed_loses_no_job(live: Live) -> None:
    job = live.submit(**MEDIUM)
    live.at_work(job["id"])
    (container,) = busy(live)

    live.cloud.crash(container["task"])

    made_once(live, job["id"])
    (call,) = live.calls(job["id"])
    assert call["attempt"] == 1


def test_of_two_containers_with_the_same_input_the_later_one_makes_the_clip(live: Live) -> None:
    job = live.submit(**MEDIUM)
    live.at_work(job["id"])
    (call,) = live.calls(job["id"])
    (first,) = busy(live)

    with live.cloud.frozen(first["task"]):
        live.cloud.redeliver(call["id"])
        made_once(live, job["id"])

    # Awake again, the first one hears so at its next report.
    live.until(job["id"], lambda _: "attempt is lost" in live.cloud.log(first["task"]))
    assert first["task"] in tasks(live)
    assert len(live.clips(job["id"])) == 1


def test_a_call_whose_spawn_was_never_answered_is_refused_when_it_begins_late(live: Live) -> None:
    """Modal's client gives up while the container starts, and the job is handed to a new call."""
    live.crash()
    live.cloud.lose_next_spawn_answer(times=100)

    job = live.submit()

    made_once(live, job["id"], attempts=2)
    orphan, good = live.calls(job["id"])
    assert live.cloud.finished(orphan["id"])["status"] == "SUCCESS"
    assert live.cloud.finished(good["id"])["status"] == "SUCCESS"


def test_a_call_whose_spawn_was_never_answered_is_known_once_it_begins(live: Live) -> None:
    live.done(live.submit()["id"])  # so that a container is warm, and quicker than the client
    live.cloud.lose_next_spawn_answer(times=100)

    job = live.submit()

    made_once(live, job["id"])
    assert len(live.calls(job["id"])) == 1


def test_a_spawn_whose_answer_is_lost_once_is_the_same_call(live: Live) -> None:
    live.cloud.lose_next_spawn_answer(way="reset")

    job = live.submit()

    made_once(live, job["id"])
    assert len(live.calls(job["id"])) == 1


def test_polling_alone_finishes_what_could_never_be_reported(live: Live) -> None:
    with live.cloud.cut_off("/internal/attempts/"):
        job = live.submit()
        done = made_once(live, job["id"])

    assert done["result"]["sha256"]
    content = live.client.get(f"/v1/jobs/{job['id']}/content")
    assert (content.status_code, content.content[4:8]) == (200, b"ftyp")


def test_a_result_past_its_expiry_is_read_from_the_bytes(live: Live) -> None:
    job = live.submit(**MEDIUM)
    live.at_work(job["id"])
    (call,) = live.calls(job["id"])

    with live.cloud.cut_off("/internal/attempts/"):
        live.cloud.wait(lambda: live.clips(job["id"]))
        live.cloud.expire(call["id"])
        made_once(live, job["id"])


def test_a_result_past_its_expiry_without_bytes_fails_the_job(live: Live) -> None:
    """Nobody knows what became of it: it is not made, and paid for, again in silence."""
    job = live.submit(**LONG)
    live.at_work(job["id"])
    (call,) = live.calls(job["id"])
    (container,) = busy(live)

    with live.cloud.cut_off("/internal/attempts/"):
        with live.cloud.client() as client:
            modal.FunctionCall.from_id(call["id"], client=client).cancel(terminate_containers=True)
        live.cloud.wait(lambda: container["task"] not in tasks(live))
        live.cloud.expire(call["id"])
        done = live.done(job["id"])

    assert (done["status"], done["error"]["code"]) == ("failed", "result_lost"), done
    assert live.clips(job["id"]) == []


def busy(live: Live) -> list[Json]:
    return [container for container in live.containers() if container["calls"]]


def tasks(live: Live) -> list[str]:
    return [container["task"] for container in live.containers()]
