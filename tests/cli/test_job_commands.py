"""The other commands against a real service: jobs, models, keys, doctor, and their exit codes."""

import json
from hashlib import sha256

import pytest

from tests.cli.conftest import LONG, TINY, Rushes
from tests.speech import provider
from tests.speech.provider import VOICE, Reply

pytestmark = pytest.mark.slow


def test_a_job_is_listed_shown_downloaded_and_retried(rushes: Rushes) -> None:
    job = json.loads(rushes("video", "A \x1b[31mred cat", *TINY, "--seed", "7", "--json").stdout)

    again = rushes("retry", job["id"], "--steps", "3", "--json")
    listed = rushes("jobs", "--limit", "1", "--status", "succeeded", "--model", "slate", "--json")
    table = rushes("jobs")
    shown = rushes("status", job["id"])
    refused = rushes("download", job["id"])  # `video` has put it there
    saved = rushes("download", job["id"], "-o", "again.mp4")
    still = rushes("download", job["id"], "--variant", "thumbnail", "--json")

    page = json.loads(listed.stdout)
    assert (page["object"], len(page["data"])) == ("list", 1)
    assert job["id"] in table.stdout
    assert "[31mred cat" in table.stdout
    assert "\x1b" not in table.stdout + shown.stdout
    assert shown.stdout.startswith(f"{job['id']}  succeeded\n")
    retried = json.loads(again.stdout)
    assert (retried["retry_of"], retried["seed"]) == (job["id"], 7)
    assert (retried["input"]["num_inference_steps"], retried["status"]) == (3, "succeeded")
    assert (rushes.folder / f"{retried['id']}.mp4").read_bytes()[4:8] == b"ftyp"
    assert (refused.returncode, "--force" in refused.stderr) == (2, True)
    video = (rushes.folder / "again.mp4").read_bytes()
    assert saved.stdout == "saved again.mp4\n"
    assert sha256(video).hexdigest() == job["result"]["sha256"]
    assert json.loads(still.stdout)["id"] == job["id"]
    assert (rushes.folder / f"{job['id']}-thumbnail.jpg").read_bytes()[:3] == b"\xff\xd8\xff"


def test_final_jobs_are_deleted_and_others_are_named(rushes: Rushes) -> None:
    ids = [rushes("video", "A cat", *TINY, "--json").stdout for _ in range(2)]
    first, second = (json.loads(body)["id"] for body in ids)
    running = rushes("video", "Long", *LONG, "--no-wait").stdout.strip()

    partly = rushes("delete", first, running, "job_nope")
    listed = rushes("delete", second, "--json")
    gone = rushes("status", first)
    rushes("cancel", running)

    assert partly.stdout == f"{first} is deleted\n"
    assert partly.returncode == 2
    assert [line.partition(": ")[0] for line in partly.stderr.splitlines()] == [running, "job_nope"]
    assert json.loads(listed.stdout)["data"][0]["id"] == second
    assert gone.returncode == 4


def test_a_download_waits_for_a_job_only_when_told_to(rushes: Rushes) -> None:
    job_id = rushes("video", "A cat", *TINY, "--no-wait").stdout.strip()

    waited = rushes("download", "--wait", job_id, "-o", "clip.mp4")
    again = rushes("retry", job_id, "--no-wait").stdout.strip()
    long = rushes("video", "Long", *LONG, "--no-wait").stdout.strip()
    early = rushes("download", long)
    rushes("cancel", long)

    assert waited.stdout == "saved clip.mp4\n", waited.stderr
    assert (rushes.folder / "clip.mp4").read_bytes()[4:8] == b"ftyp"
    assert again.startswith("job_")
    assert again != job_id
    assert early.returncode == 1
    assert f"there is no video yet; `rushes download --wait {long}` waits for it" in early.stderr
    assert rushes("download", job_id, "--variant", "captions").returncode == 4


def test_without_waiting_the_id_is_all_that_is_printed(rushes: Rushes) -> None:
    submitted = rushes("video", "A cat", *TINY, "--no-wait")

    assert submitted.returncode == 0
    assert submitted.stdout.startswith("job_")
    assert submitted.stdout.count("\n") == 1
    assert submitted.stderr == ""


def test_models_are_shown_with_what_they_can_make(rushes: Rushes) -> None:
    table, body = rushes("models"), json.loads(rushes("models", "--json").stdout)

    assert "slate (default, sandbox)  64-1920 by 2" in table.stdout
    assert (body["data"][0]["id"], body["data"][0]["default"]) == ("slate", True)


def test_a_local_worker_is_warm_and_is_not_changed(rushes: Rushes) -> None:
    shown, refused = rushes("models", "warm", "slate"), rushes("models", "warm", "slate", "2")

    assert shown.stdout == "slate: 1 kept warm\n"
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "local workers, which are always warm" in refused.stderr


def test_a_key_is_made_used_listed_and_revoked(rushes: Rushes) -> None:
    secret = rushes("keys", "create", "for a test").stdout.strip()
    made = json.loads(rushes("keys", "create", "another", "--admin", "--json").stdout)

    forbidden = rushes("keys", "list", api_key=secret)
    listed = rushes("keys", "list", "--api-key", made["secret"])
    revoked = rushes("keys", "revoke", "another")
    refused = rushes("jobs", api_key=made["secret"])

    assert (forbidden.returncode, forbidden.stderr) == (3, "this needs an admin key\n")
    assert "for a test" in listed.stdout
    assert made["key"]["id"] in listed.stdout
    assert revoked.stdout == f"{made['key']['id']} is revoked\n"
    assert refused.returncode == 3


@pytest.mark.parametrize(
    "words",
    ["status job_nope", "download ../../livez", "keys revoke key_nope"],
)
def test_what_is_not_there_ends_with_4(rushes: Rushes, words: str) -> None:
    missing = rushes(*words.split())

    assert (missing.returncode, missing.stdout) == (4, "")
    assert missing.stderr.startswith("no ")


def test_without_a_key_it_ends_with_3_and_says_where_one_may_be(rushes: Rushes) -> None:
    refused = rushes("jobs", data_dir=rushes.folder)

    assert refused.returncode == 3
    assert "--api-key" in refused.stderr


def test_the_doctor_finds_a_running_service_healthy(rushes: Rushes) -> None:
    told = rushes("doctor")

    assert told.returncode == 0, told.stderr
    lines = told.stdout.splitlines()
    assert [line for line in lines if not line.startswith(("✓ ", "! "))] == []
    assert any(line.startswith("✓ API key: accepted by http://127.0.0.1:") for line in lines)
    assert any("is healthy" in line for line in lines)


def test_the_doctor_finds_a_key_that_the_service_refuses(rushes: Rushes) -> None:
    told = rushes("doctor", "--json", "--api-key", "wrong")

    body = json.loads(told.stdout)
    assert (told.returncode, body["ok"]) == (1, False)
    assert [each["name"] for each in body["checks"] if each["status"] == "fault"] == ["API key"]


def test_the_doctor_tries_the_key_of_elevenlabs(
    rushes: Rushes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with provider.serve() as account:
        account.respond = lambda _: Reply(
            body=json.dumps({"voices": [{"voice_id": VOICE}]}).encode()
        )
        monkeypatch.setenv("ELEVENLABS_API_KEY", provider.KEY)
        right = rushes("doctor", elevenlabs_url=account.url)
        monkeypatch.setenv("ELEVENLABS_API_KEY", "sk_wrong")
        wrong = rushes("doctor", elevenlabs_url=account.url)

    assert (right.returncode, wrong.returncode) == (0, 1)
    assert "✓ voices: 1 of hibari" in right.stdout
    assert ", 1 of elevenlabs" in right.stdout
    (fault,) = [line for line in wrong.stdout.splitlines() if line.startswith("✗")]
    assert fault == (
        "✗ voices: the key of this service (ELEVENLABS_API_KEY) is refused: "
        "ElevenLabs answers 401: Invalid API key"
    )


def test_a_worker_with_a_wrong_token_ends_with_3(rushes: Rushes) -> None:
    refused = rushes("worker", worker_token="x" * 24)

    assert refused.returncode == 3
    assert "refuses this worker's token" in refused.stderr.splitlines()[-1]


def test_usage_is_shown_by_day_by_model_and_by_key(rushes: Rushes) -> None:
    rushes("video", "A cat", *TINY)

    table = rushes("usage")
    models = json.loads(rushes("usage", "--by", "model", "--json").stdout)
    keys = rushes("usage", "--by", "key", "--all")
    none = json.loads(
        rushes("usage", "--from", "2026-01-01", "--to", "2026-01-31", "--json").stdout
    )

    assert table.returncode == 0
    assert table.stdout.splitlines()[0].split() == ["day", "jobs", "GPU", "seconds", "USD"]
    assert table.stdout.splitlines()[-1].startswith("total")
    assert "this key has no budget" in table.stderr
    assert "slate" in [row["model"] for row in models["data"]]
    assert models["total"]["jobs"] >= 1
    assert "first key" in keys.stdout
    assert (none["data"], none["from"]) == ([], "2026-01-01")


def test_a_budget_is_given_by_name_or_id_and_taken_away(rushes: Rushes) -> None:
    made = json.loads(rushes("keys", "create", "the editor", "--budget", "50", "--json").stdout)
    key_id = made["key"]["id"]

    listed = rushes("keys", "list")
    by_name = rushes("keys", "budget", "the editor", "12.5")
    by_id = rushes("keys", "budget", key_id, "none", "--json")
    missing = rushes("keys", "budget", "nobody", "1")
    wrong = rushes("keys", "budget", key_id, "much")
    rushes("keys", "create", "the editor")
    ambiguous = rushes("keys", "budget", "the editor", "1")

    assert made["key"]["budget"]["budget_usd"] == 50
    assert "$0.00 of 50.00" in listed.stdout
    assert by_name.stdout == f"{key_id} has $12.50 a month; $0.00 of 12.50 this month\n"
    assert json.loads(by_id.stdout)["budget"]["budget_usd"] is None
    assert (missing.returncode, missing.stderr) == (4, "no key nobody\n")
    assert (wrong.returncode, "such as 50, or none" in wrong.stderr) == (2, True)
    assert (ambiguous.returncode, "2 keys are called" in ambiguous.stderr) == (2, True)


def test_a_model_is_paused_and_resumed(rushes: Rushes) -> None:
    paused = rushes("models", "pause", "slate")
    listed = rushes("models")
    resumed = rushes("models", "resume", "slate")

    assert paused.stdout == "slate is paused\n"
    assert "paused" in listed.stdout
    assert resumed.stdout == "slate is resumed\n"
    assert "paused" not in rushes("models").stdout
    assert rushes("models", "pause", "nope").returncode == 4


def test_the_key_of_a_viewer_changes_nothing(rushes: Rushes) -> None:
    secret = rushes("keys", "create", "support desk", "--role", "viewer").stdout.strip()

    assert "viewer" in rushes("keys", "list").stdout
    assert rushes("jobs", "--api-key", secret).returncode == 0
    refused = rushes("video", "x", "--no-wait", "--api-key", secret)
    assert refused.returncode != 0
    assert "changes nothing" in refused.stderr
