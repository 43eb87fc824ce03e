"""What the service says of itself holds nothing of its customers."""

import json
import re
from pathlib import Path

import pytest

from tests.journey.service import KEY, running

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc").exists(), reason="finds processes in /proc"),
]

CANARY = "canary-of-a-prompt"


def test_a_whole_run_is_told_by_ids_and_tells_no_secret(tmp_path: Path) -> None:
    with running(tmp_path, log_format="json", webhooks_allow_loopback=True) as service:
        client = service.client
        endpoint = client.post(
            "/v1/webhook-endpoints", json={"url": f"http://127.0.0.1:9/{CANARY}"}
        ).json()
        made = client.post("/v1/keys", json={"name": CANARY}).json()
        job = service.submit(prompt=CANARY, metadata={"label": CANARY})
        done = service.wait(job["id"])
        answers = [
            client.post("/generate-video", json={"prompt": CANARY, "width": 65}),
            client.post(
                "/generate-video",
                content=b'{"prompt": "' + CANARY.encode(),
                headers={"Content-Type": "application/json"},
            ),
            client.get("/v1/jobs", headers={"Authorization": f"Bearer {CANARY}"}),
            client.get(done["result"]["video_url"]),
        ]
        assert [answer.status_code for answer in answers] == [422, 400, 401, 200]
        client.delete(f"/v1/jobs/{job['id']}").raise_for_status()
    told = service.log()

    signature = re.search(r"signature=(\w+)", done["result"]["video_url"])
    assert signature is not None
    secrets = [CANARY, KEY, endpoint["secret"], made["secret"], signature[1], "whsec_", "Bearer"]
    assert [secret for secret in secrets if secret in told] == []
    events = [json.loads(line) for line in told.splitlines()]
    about = [(one["event"], one.get("attempt")) for one in events if one.get("job") == job["id"]]
    for expected in (
        ("job accepted", None),
        ("attempt claimed", 1),
        ("attempt begun", 1),
        ("attempt begins", 1),  # the worker's own line
        ("attempt ended", 1),
        ("job deleted", None),
    ):
        assert expected in about
    accepted = next(one for one in events if one["event"] == "job accepted")
    assert accepted["request"].startswith("req_")


def test_in_json_nothing_is_told_in_another_form(tmp_path: Path) -> None:
    with running(tmp_path, log_format="json", modle="slate") as service:
        pass
    events = [json.loads(line) for line in service.log().splitlines()]
    told = [(event["level"], event["event"]) for event in events]

    assert service.printed == ""
    assert told[0] == ("warning", "no such setting: RUSHES_MODLE; did you mean RUSHES_MODELS?")
    assert ("info", "ready") in told
    assert any(event.startswith("default model: slate") for _, event in told)
