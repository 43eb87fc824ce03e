import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from standardwebhooks import Webhook

from service.app import build
from service.settings import Settings
from tests.api.world import KEY, World
from tests.webhooks.receiver import Receiver, body_of, receiving


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    with receiving(tmp_path / "received") as found:
        yield found


@pytest.fixture
def open_world(settings: Settings) -> Iterator[World]:
    """One that may send to this machine."""
    settings.webhooks_allow_loopback = True
    with TestClient(build(settings), base_url="http://rushes.test") as client:
        client.headers["Authorization"] = f"Bearer {KEY}"
        yield World(client)


def test_a_finished_job_is_told_by_a_signed_post(open_world: World, receiver: Receiver) -> None:
    job = open_world.submit(webhook_url=receiver.url("ok"), metadata={"scene": "12"})
    secret = open_world.client.get("/v1/webhook-secret").json()["secret"]

    open_world.finish()

    (got,) = receiver.wait("ok", 1)
    body = Webhook(secret).verify(body_of(got), got["headers"])
    assert body["type"] == "job.succeeded"
    assert body["data"]["metadata"] == {"scene": "12"}
    shown = open_world.job(job["id"])
    assert body["data"] == shown
    assert open_world.client.get(body["data"]["result"]["video_url"]).status_code == 200


def test_an_endpoint_hears_what_it_asked_for_of_every_job(
    open_world: World, receiver: Receiver
) -> None:
    ask = {"url": receiver.url("ok"), "events": ["job.started", "job.progress", "job.succeeded"]}
    made = open_world.client.post("/v1/webhook-endpoints", json=ask).json()
    open_world.submit()
    ticket, begun = open_world.begin()
    receiver.wait("ok", 1)
    progress = {"stage": "generate", "fraction": 0.5}
    open_world.report(ticket, "progress", fence=begun["fence"], progress=progress)
    receiver.wait("ok", 2)

    kinds = []
    for got in receiver.got("ok"):
        body = Webhook(made["secret"]).verify(body_of(got), got["headers"])
        kinds.append((body["type"], body["data"]["status"], body["data"]["progress"]))
    assert kinds == [("job.started", "running", 0), ("job.progress", "running", 50)]


def test_the_log_shows_each_try_and_a_replay_sends_the_same(
    open_world: World, receiver: Receiver
) -> None:
    made = open_world.client.post("/v1/webhook-endpoints", json={"url": receiver.url("ok")}).json()
    sent = open_world.client.post(f"/v1/webhook-endpoints/{made['endpoint']['id']}/test")
    assert (sent.status_code, sent.json()["event"]) == (202, "webhook.test")
    receiver.wait("ok", 1)

    path = f"/v1/webhook-deliveries/{sent.json()['id']}"
    deadline = time.monotonic() + 60
    while (shown := open_world.client.get(path).json())["status"] != "delivered":
        assert time.monotonic() < deadline
    assert [one["status"] for one in shown["tries"]] == [200]
    assert shown["attempts"] == 1

    assert open_world.client.post(f"{path}/replay").status_code == 202
    first, again = receiver.wait("ok", 2)
    assert first["headers"]["webhook-id"] == again["headers"]["webhook-id"] == shown["id"]
    assert first["body"] == again["body"]


def test_deliveries_are_listed_by_job_endpoint_and_state(world: World) -> None:
    ask = {"url": "https://hooks.example.com/a"}
    endpoint = world.client.post("/v1/webhook-endpoints", json=ask).json()["endpoint"]
    jobs = [world.submit()["id"] for _ in range(3)]
    for job in jobs:
        world.client.post(f"/v1/jobs/{job}/cancel")

    def listed(**query: str) -> list[str]:
        return [
            one["job_id"]
            for one in world.client.get("/v1/webhook-deliveries", params=query).json()["data"]
        ]

    assert listed() == jobs[::-1]
    assert listed(job_id=jobs[1]) == [jobs[1]]
    assert listed(endpoint_id=endpoint["id"], status="pending") == jobs[::-1]
    assert listed(status="delivered") == []
    page = world.client.get("/v1/webhook-deliveries?limit=2").json()
    assert page["has_more"] is True
    assert listed(after=page["last_id"]) == [jobs[0]]


def test_an_endpoint_is_made_shown_rotated_and_removed(world: World) -> None:
    made = world.client.post("/v1/webhook-endpoints", json={"url": "https://a.example/hook"})
    endpoint = made.json()["endpoint"]
    path = f"/v1/webhook-endpoints/{endpoint['id']}"

    assert made.status_code == 201
    assert "secret" not in world.client.get(path).json()
    assert world.client.get("/v1/webhook-endpoints").json()["data"] == [endpoint]
    before = world.client.get(f"{path}/secret").json()
    after = world.client.post(f"{path}/rotate").json()
    assert before == {
        "secret": made.json()["secret"],
        "old_secret": None,
        "old_secret_until": None,
    }
    assert after["old_secret"] == before["secret"] != after["secret"]
    assert world.client.delete(path).json()["deleted"] is True
    assert world.client.get(path).status_code == 404


def test_the_secret_of_a_key_rotates_too(world: World) -> None:
    before = world.client.get("/v1/webhook-secret").json()
    after = world.client.post("/v1/webhook-secret/rotate").json()

    assert after["old_secret"] == before["secret"]
    assert world.client.get("/v1/webhook-secret").json() == after


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/hook",
        "https://127.0.0.1/hook",
        "https://localhost/hook",
        "https://[::1]/hook",
        "https://169.254.169.254/latest/meta-data",
        "https://2130706433/",
        "https://user:password@example.com/",
        "https://example.com:22/",
        "ftp://example.com/",
        "javascript:alert(1)",
        "not a url",
    ],
)
def test_a_url_that_would_never_be_called_is_refused_at_the_door(world: World, url: str) -> None:
    named = world.client.post("/generate-video", json={"prompt": "x", "webhook_url": url})
    registered = world.client.post("/v1/webhook-endpoints", json={"url": url})

    for answer, pointer in ((named, "/webhook_url"), (registered, "/url")):
        assert answer.status_code == 422
        (error,) = answer.json()["errors"]
        assert (error["pointer"], error["code"]) == (pointer, "refused_url")


def test_events_need_a_url_and_must_be_known(world: World) -> None:
    alone = world.client.post(
        "/generate-video", json={"prompt": "x", "webhook_events": ["job.failed"]}
    )
    unknown = world.client.post(
        "/generate-video",
        json={"prompt": "x", "webhook_url": "https://a.example/", "webhook_events": ["job.won"]},
    )

    assert (
        alone.json()["errors"][0]["detail"] == "the request: `webhook_events` needs a `webhook_url`"
    )
    assert unknown.json()["errors"][0]["pointer"] == "/webhook_events/0"


def test_a_retry_tells_the_same_url(world: World) -> None:
    job = world.submit(webhook_url="https://a.example/", webhook_events=["job.failed"])
    world.client.post(f"/v1/jobs/{job['id']}/cancel")

    again = world.client.post(f"/v1/jobs/{job['id']}/retry").json()

    assert again["webhook_url"] == "https://a.example/"


def test_the_snapshot_of_a_delivery_is_of_its_moment(open_world: World, receiver: Receiver) -> None:
    open_world.submit(
        webhook_url=receiver.url("ok"), webhook_events=["job.started", "job.succeeded"]
    )

    open_world.finish()

    states = {json.loads(body_of(got))["data"]["status"] for got in receiver.wait("ok", 2)}
    assert states == {"running", "succeeded"}
