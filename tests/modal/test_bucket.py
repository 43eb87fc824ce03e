"""Clips in a bucket: the worker puts them there, and clients fetch them from there."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
from standardwebhooks import Webhook

from dev.loopback_modal.harness import LoopbackModal
from tests.conftest import new_database
from tests.modal.conftest import MARKS
from tests.modal.live import Live, deployed, make_secret, secrets
from tests.servers import S3Server, s3_server
from tests.webhooks.receiver import Receiver, body_of

pytestmark = MARKS

APP = "bucket"


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with tempfile.TemporaryDirectory(prefix="rs3") as folder, s3_server(Path(folder)) as server:
        yield server


@pytest.fixture(scope="module")
def live_on_s3(cloud: LoopbackModal, postgres: sa.URL, server: S3Server) -> Iterator[Live]:
    """As `make deploy` does it: the address and the keys are in a Secret of their own."""
    told = {
        "RUSHES_S3_BUCKET": server.bucket,
        "RUSHES_S3_PREFIX": "made/",
        "RUSHES_S3_ENDPOINT_URL": server.endpoint_url,
        "RUSHES_S3_REGION": "us-east-1",
        "RUSHES_S3_ACCESS_KEY_ID": server.access_key_id,
        "RUSHES_S3_SECRET_ACCESS_KEY": server.secret_access_key,
    }
    make_secret(cloud, f"{APP}-bucket", told)
    settings = {
        "models": ["slate"],
        "s3_bucket": server.bucket,
        "running_lease_seconds": 3,
        "webhooks_allow_loopback": True,
    }
    with deployed(cloud, APP, secrets(new_database(postgres)), settings) as live:
        yield live


def test_a_clip_is_in_the_bucket_and_is_fetched_from_there(
    live_on_s3: Live, server: S3Server
) -> None:
    live = live_on_s3

    job = live.done(live.submit()["id"])

    assert job["status"] == "succeeded", job
    assert live.clips(job["id"]) == []
    found = server.client().list_objects_v2(Bucket=server.bucket, Prefix="made/")
    clips = [one for one in found["Contents"] if one["Key"].endswith("video.mp4")]
    assert [clip["Size"] for clip in clips] == [job["result"]["bytes"]]
    sent = httpx.get(job["result"]["video_url"], headers={"Range": "bytes=4-7"}, trust_env=False)
    assert sent.status_code == 302
    assert sent.headers["location"].startswith(server.endpoint_url)
    assert "X-Amz-Expires=3600" in sent.headers["location"]
    part = httpx.get(sent.headers["location"], headers={"Range": "bytes=4-7"}, trust_env=False)
    assert (part.status_code, part.content) == (206, b"ftyp")


def test_the_webhook_of_a_clip_in_the_bucket_verifies(live_on_s3: Live, receiver: Receiver) -> None:
    live = live_on_s3

    job = live.done(live.submit(webhook_url=receiver.url("ok"))["id"])

    (got,) = live.cloud.wait(lambda: receiver.got("ok"))
    secret = live.client.get("/v1/webhook-secret").json()["secret"]
    told = Webhook(secret).verify(body_of(got), got["headers"])
    assert (told["type"], told["data"]["id"]) == ("job.succeeded", job["id"])
    assert told["data"]["result"]["sha256"] == job["result"]["sha256"]


def test_polling_alone_finds_a_clip_in_the_bucket(live_on_s3: Live) -> None:
    live = live_on_s3
    with live.cloud.cut_off("/internal/attempts/"):
        job = live.done(live.submit(seed=7)["id"])

    assert (job["status"], job["attempts"]) == ("succeeded", 1), job
    clip = live.client.get(f"/v1/jobs/{job['id']}/content", follow_redirects=True)
    assert (clip.status_code, len(clip.content)) == (200, job["result"]["bytes"])


def test_only_the_bucket_s_secret_is_known_to_workers(live_on_s3: Live) -> None:
    found = live_on_s3.cloud.functions(APP)

    given = {name: function["definition"].get("secret_ids", []) for name, function in found.items()}
    (bucket,) = given["Slate.*"]
    assert bucket in given["api"]
    assert len(given["api"]) == 2
    assert bucket not in given["tick"]
