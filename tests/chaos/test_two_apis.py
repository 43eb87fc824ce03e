"""Two API processes on one Postgres: whichever is asked, the answer is the same."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.chaos.api_alone import ApiAlone, api_alone
from tests.journey.service import KEY
from tests.webhooks.receiver import Receiver, receiving

pytestmark = pytest.mark.slow

TOKEN = "a-token-for-two-a-token-for-two"
ASK = {"prompt": "a red ball", "width": 64, "height": 64, "num_frames": 2}


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    with receiving(tmp_path / "received") as found:
        yield found


@pytest.fixture
def apis(tmp_path: Path, postgres_url: str) -> Iterator[tuple[ApiAlone, ApiAlone]]:
    with ExitStack() as stack:
        found = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            api = api_alone(
                tmp_path / name,
                database_url=postgres_url,
                worker_token=TOKEN,
                secret="a-secret-for-two-a-secret-for-two",
                webhooks_allow_loopback=True,
                running_lease_seconds=2,
            )
            found.append(stack.enter_context(api))
        yield found[0], found[1]


def client(api: ApiAlone) -> httpx.Client:
    headers = {"Authorization": f"Bearer {KEY}"}
    return httpx.Client(base_url=api.url, headers=headers, timeout=60, trust_env=False)


def claim(api: ApiAlone, wait: float = 0) -> httpx.Response:
    ask = {"worker": "w", "models": ["slate"], "wait_seconds": wait}
    headers = {"Authorization": f"Bearer {TOKEN}"}
    return httpx.post(f"{api.url}/internal/claims", json=ask, headers=headers, timeout=60)


def report(api: ApiAlone, ticket: dict, act: str, **body: object) -> httpx.Response:
    return httpx.post(
        f"{api.url}/internal/attempts/{ticket['job_id']}.{ticket['attempt']}/{act}",
        json=body,
        headers={"Authorization": f"Bearer {ticket['token']}"},
        timeout=60,
    )


def test_what_one_of_them_accepts_the_other_gives_out(
    apis: tuple[ApiAlone, ApiAlone], receiver: Receiver
) -> None:
    one, two = apis
    answers: list[httpx.Response] = []
    with client(one) as at_one, client(two) as at_two:
        at_one.get("/livez").raise_for_status()
        at_two.get("/livez").raise_for_status()
        waiting = threading.Thread(target=lambda: answers.append(claim(two, wait=30)))
        waiting.start()
        job = at_one.post("/generate-video", json={**ASK, "webhook_url": receiver.url("ok")}).json()
        waiting.join(30)
        (answer,) = answers
        assert answer.status_code == 200, answer.text
        ticket = answer.json()
        assert ticket["job_id"] == job["id"]

        # The worker speaks to either; both tell the same of the job.
        begun = report(one, ticket, "begin", call_id="c1").json()
        progress = {"stage": "generate", "fraction": 0.5}
        told = report(two, ticket, "progress", fence=begun["fence"], progress=progress)
        assert told.status_code == 200
        for each in (at_one, at_two):
            shown = each.get(f"/v1/jobs/{job['id']}").json()
            assert (shown["status"], shown["progress"]) == ("running", 50)

        # A wait at one ends by what is done at the other.
        polled: list[dict] = []
        poll = threading.Thread(
            target=lambda: polled.append(at_one.get(f"/v1/jobs/{job['id']}?wait=30").json())
        )
        poll.start()
        failure = {"kind": "user", "code": "x", "message": "y"}
        report(two, ticket, "fail", fence=begun["fence"], failure=failure).raise_for_status()
        poll.join(10)
        assert polled[0]["status"] == "failed"

        # One event, from one of them.
        deadline = time.monotonic() + 20
        while not receiver.got("ok"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        listed = at_two.get(f"/v1/webhook-deliveries?job_id={job['id']}").json()["data"]
        assert [one["event"] for one in listed] == ["job.failed"]


def test_a_key_that_is_revoked_at_one_opens_nothing_at_the_other(
    apis: tuple[ApiAlone, ApiAlone],
) -> None:
    one, two = apis
    with client(one) as at_one, client(two) as at_two:
        made = at_one.post("/v1/keys", json={"name": "editor"}).json()
        headers = {"Authorization": f"Bearer {made['secret']}"}
        assert at_two.get("/v1/jobs", headers=headers).status_code == 200

        at_one.delete(f"/v1/keys/{made['key']['id']}").raise_for_status()

        deadline = time.monotonic() + 60
        while at_two.get("/v1/jobs", headers=headers).status_code != 401:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_hundred_equal_submits_at_both_make_one_job(apis: tuple[ApiAlone, ApiAlone]) -> None:
    found: list[str] = []

    def submit(api: ApiAlone) -> None:
        with client(api) as mine:
            for _ in range(10):
                answer = mine.post(
                    "/generate-video", json=ASK, headers={"Idempotency-Key": "the-one"}
                )
                assert answer.status_code == 202, answer.text
                found.append(answer.json()["id"])

    threads = [threading.Thread(target=submit, args=(apis[n % 2],)) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert len(found) == 100
    assert len(set(found)) == 1


def test_when_one_dies_the_other_takes_its_turn(apis: tuple[ApiAlone, ApiAlone]) -> None:
    """The ticks: a silent worker's job is queued again, whichever process had the turn."""
    one, two = apis
    with client(two) as at_two:
        job = at_two.post("/generate-video", json=ASK).json()
        ticket = claim(two).json()
        report(two, ticket, "begin", call_id="c1").raise_for_status()

        one.end()
        try:
            deadline = time.monotonic() + 40  # a turn lasts 15 s, then comes the grace
            while at_two.get(f"/v1/jobs/{job['id']}").json()["status"] != "queued":
                assert time.monotonic() < deadline
                time.sleep(0.2)
        finally:
            one.start()
