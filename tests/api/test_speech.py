"""Texts of avatars are spoken by ElevenLabs, before a worker gets their jobs."""

import base64
import io
import json
import logging
import time
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from service.app import build
from service.domain.attempt import speech_keys
from service.domain.errors import Unavailable
from service.domain.ids import JobId
from service.settings import Settings
from service.store import jobs
from tests.api.test_avatars import photo
from tests.api.world import KEY, World
from tests.speech import provider as elevenlabs
from tests.speech.provider import VOICE, Provider, Reply, problem, serve, speech
from tests.workers.avatars import FACES

TEXT = "Hello there, you two."


@dataclass
class Studio:
    """A service with an account of ElevenLabs, and the server that answers for it."""

    world: World
    provider: Provider

    def ask(self, **body: Any) -> Any:
        face = base64.b64encode(FACES["marc"].read_bytes()).decode()
        body = {"text": TEXT, "voice": f"elevenlabs-{VOICE}", "reference_image": face, **body}
        return self.world.client.post("/generate-avatar", json=body)

    def submit(self, **body: Any) -> str:
        answer = self.ask(**body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def until(self, job_id: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + 120
        while not holds(job := self.world.job(job_id)):
            assert time.monotonic() < deadline, job
            time.sleep(0.02)
        return job

    def ticket(self) -> dict[str, Any]:
        """What a worker gets once a text was spoken."""
        deadline = time.monotonic() + 120
        while (answer := self.world.claim(wait=5, models=["puppet"])).status_code == 204:
            assert time.monotonic() < deadline, "no text was spoken"
        ticket: dict[str, Any] = answer.json()
        return ticket


@pytest.fixture
def provider() -> Iterator[Provider]:
    with serve() as provider:
        yield provider


@pytest.fixture
def studio(settings: Settings, provider: Provider) -> Iterator[Studio]:
    with serving(settings, provider) as studio:
        yield studio


@contextmanager
def serving(settings: Settings, provider: Provider) -> Iterator[Studio]:
    settings.models = ["slate", "puppet"]
    settings.elevenlabs_api_key = SecretStr(elevenlabs.KEY)
    settings.elevenlabs_url = provider.url
    settings.elevenlabs_usd_per_1000_characters = 0.2
    with TestClient(build(settings), base_url="http://rushes.test") as client:
        client.headers["Authorization"] = f"Bearer {KEY}"
        yield Studio(World(client), provider)


def is_final(job: dict[str, Any]) -> bool:
    return job["finished_at"] is not None


def test_a_text_is_spoken_before_a_worker_gets_its_job(studio: Studio) -> None:
    job_id = studio.submit(seed=5, speed=1.1)

    ticket = studio.ticket()

    assert ticket["job_id"] == job_id
    (request,) = studio.provider.requests
    assert request.path.startswith(f"/v1/text-to-speech/{VOICE}/with-timestamps")
    assert request.json["text"] == TEXT
    assert (request.json["seed"], request.json["voice_settings"]) == (5, {"speed": 1.1})
    sound = studio.world.runtime.artifacts.path(speech_keys(JobId(job_id))[0])
    assert sound is not None
    with wave.open(io.BytesIO(sound.read_bytes())) as file:
        assert file.getnframes() / file.getframerate() == pytest.approx(len(TEXT) * 0.1, abs=0.01)
    cost = studio.world.job(job_id)["cost"]
    half = len(TEXT) // 2  # the stand-in counts half
    assert cost["speech"] == {"provider": "elevenlabs", "characters": half, "usd": half * 0.0002}
    assert cost["actual_usd"] == pytest.approx(half * 0.0002)
    assert cost["estimated_usd"] == pytest.approx(len(TEXT) * 0.0002)
    usage = studio.world.client.get("/v1/usage", params={"group_by": "model"}).json()
    assert [row["model"] for row in usage["data"]] == ["elevenlabs"]
    assert usage["total"]["cost_usd"] == pytest.approx(half * 0.0002)


def test_the_offline_voice_costs_nothing(studio: Studio) -> None:
    job_id = studio.submit(voice=None)

    assert studio.ticket()["job_id"] == job_id

    cost = studio.world.job(job_id)["cost"]
    assert cost["speech"] == {"provider": "hibari", "characters": 0, "usd": 0.0}
    assert studio.provider.requests == []


@pytest.mark.parametrize(
    ("reply", "kind", "code", "says"),
    [
        (problem(401, {"message": "bad key"}), "internal", "voice_key_refused", "401: bad key"),
        (
            problem(401, {"status": "quota_exceeded", "message": "0 left"}),
            "internal",
            "voice_quota_exceeded",
            "401: 0 left",
        ),
        (problem(422, [{"msg": "no"}]), "user", "voice_request_refused", "422: no"),
        (problem(404, "no voice"), "user", "voice_unknown", "404: no voice"),
    ],
    ids=["401", "quota", "422", "404"],
)
def test_a_refusal_of_the_provider_fails_the_job_with_its_reason(
    studio: Studio, reply: Reply, kind: str, code: str, says: str
) -> None:
    studio.provider.respond = lambda _: reply

    job = studio.until(studio.submit(), is_final)

    assert (job["status"], job["attempts"]) == ("failed", 0)
    assert (job["error"]["kind"], job["error"]["code"]) == (kind, code)
    assert says in job["error"]["message"]
    assert len(studio.provider.requests) == 1


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (problem(429, "too many", ("Retry-After", "1")), "429: too many (try again in 1 s)"),
        (problem(500, "oops"), "500: oops"),
        (Reply(body=b"x" * 100, cut=True), "broke off"),
    ],
    ids=["429", "500", "cut"],
)
def test_a_busy_provider_lets_the_job_wait_and_is_paid_once(
    studio: Studio, reply: Reply, says: str
) -> None:
    busy = [reply, reply]
    studio.provider.respond = lambda request: busy.pop() if busy else speech(request)

    job_id = studio.submit()
    waiting = studio.until(job_id, lambda job: job["stage_detail"] is not None)

    assert (waiting["status"], waiting["attempts"]) == ("queued", 0)
    assert says in waiting["stage_detail"]
    assert studio.world.claim(models=["puppet"]).status_code == 204  # no worker waits with it
    ticket = studio.ticket()
    assert (ticket["job_id"], ticket["attempt"]) == (job_id, 1)
    job = studio.world.job(job_id)
    assert job["stage_detail"] is None
    assert job["cost"]["speech"]["characters"] == len(TEXT) // 2
    assert len(studio.provider.requests) == 3


def waiting_job(studio: Studio) -> str:
    """Return a job that waits ten minutes for its provider."""
    studio.provider.respond = lambda _: problem(429, "later", ("Retry-After", "600"))
    job_id = studio.submit()
    studio.until(job_id, lambda job: job["stage_detail"] is not None)
    studio.provider.respond = speech
    return job_id


def test_after_a_restart_a_text_waits_no_longer(settings: Settings, provider: Provider) -> None:
    """It may be one that the process before did not end; no other process speaks."""
    with serving(settings, provider) as studio:
        job_id = waiting_job(studio)

    with serving(settings, provider) as studio:
        assert studio.ticket()["job_id"] == job_id


def test_a_process_leaves_the_texts_of_others_that_share_its_database(
    settings: Settings, provider: Provider, postgres_url: str, tmp_path: Path
) -> None:
    settings.database_url = postgres_url
    other = settings.model_copy(update={"data_dir": tmp_path / "other"})
    with serving(settings, provider) as studio:
        job_id = JobId(waiting_job(studio))
        db = studio.world.runtime.db
        before = db.read(lambda tx: jobs.get(tx, job_id))
        with serving(other, provider):
            after = db.read(lambda tx: jobs.get(tx, job_id))

    assert before is not None
    assert before.speech_at is not None
    assert after == before


def test_a_job_that_waits_for_its_voice_can_be_canceled(studio: Studio) -> None:
    studio.provider.respond = lambda _: problem(429, "later", ("Retry-After", "600"))
    job_id = studio.submit()
    studio.until(job_id, lambda job: job["stage_detail"] is not None)

    answer = studio.world.client.post(f"/v1/jobs/{job_id}/cancel")

    assert (answer.status_code, answer.json()["status"]) == (200, "canceled")
    assert answer.json()["cost"]["actual_usd"] == 0


@pytest.mark.parametrize(
    ("body", "pointer", "code", "says"),
    [
        ({"voice": "hibari-hart"}, "/voice", "voice_unknown", "the nearest is 'hibari-heart'"),
        ({"voice": "elevenlabs-../x"}, "/voice", "voice_unknown", "is no id of a voice"),
        ({"speed": 1.3}, "/speed", "speed_out_of_range", "0.7 to 1.2, not 1.3"),
        ({"text": "?!"}, "/text", "text_without_words", "no letter and no digit"),
        ({"text": "Привет!", "voice": None}, "/text", "text_without_words", "it reads en-US"),
        ({"text": "9 " * 2499, "speed": 0.7}, "/text", "text_too_long", "600 s at most"),
    ],
)
def test_what_no_voice_can_speak_is_refused_at_the_submit(
    studio: Studio, body: dict[str, Any], pointer: str, code: str, says: str
) -> None:
    answer = studio.ask(**body)

    assert answer.status_code == 422, answer.text
    (error,) = answer.json()["errors"]
    assert (error["pointer"], error["code"]) == (pointer, code)
    assert says in error["detail"]
    assert studio.provider.requests == []


def test_without_a_key_a_voice_of_elevenlabs_is_refused(settings: Settings) -> None:
    settings.models = ["puppet"]
    with TestClient(build(settings), base_url="http://rushes.test") as client:
        client.headers["Authorization"] = f"Bearer {KEY}"
        body = {"text": TEXT, "voice": f"elevenlabs-{VOICE}", "reference_image": photo()}
        answer = client.post("/generate-avatar", json=body)

    assert answer.status_code == 422
    assert "no API key of ElevenLabs" in answer.json()["errors"][0]["detail"]


def test_a_key_that_none_can_be_stops_the_start(settings: Settings) -> None:
    settings.elevenlabs_api_key = SecretStr("sk\r\nHost: x")

    with (
        pytest.raises(Unavailable, match="characters that no key has"),
        TestClient(build(settings)),
    ):
        pass


def test_a_photo_without_a_face_is_refused_before_its_text_is_paid_for(studio: Studio) -> None:
    body = {"text": TEXT, "voice": f"elevenlabs-{VOICE}", "reference_image": photo()}

    answer = studio.world.client.post("/generate-avatar", json=body)

    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert (error["pointer"], error["code"]) == ("/reference_image", "face_not_found")
    assert studio.provider.requests == []


def test_the_price_of_speech_counts_against_the_budget(studio: Studio) -> None:
    client = studio.world.client
    new = client.post("/v1/keys", json={"name": "poor", "budget_usd": 0.001}).json()

    studio.world.client.headers["Authorization"] = f"Bearer {new['secret']}"
    answer = studio.ask()

    assert answer.status_code == 402
    assert answer.json()["shortfall"]["estimated_usd"] == pytest.approx(len(TEXT) * 0.0002)
    assert {request.path.partition("?")[0] for request in studio.provider.requests} == {
        "/v2/voices"  # is the voice one for all keys?
    }


def test_the_key_is_in_no_answer_no_job_and_no_log(
    studio: Studio, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    replies = [problem(401, {"message": f"key {elevenlabs.KEY} is wrong"})]
    studio.provider.respond = lambda request: replies.pop() if replies else speech(request)

    failed = studio.until(studio.submit(), is_final)
    studio.submit()
    ticket = studio.ticket()

    shown = [failed, ticket, studio.world.job(ticket["job_id"])]
    shown += [studio.world.client.get("/health").json(), [r.getMessage() for r in caplog.records]]
    shown += [str(vars(record)) for record in caplog.records]
    assert "is wrong" in failed["error"]["message"]
    assert elevenlabs.KEY not in json.dumps(shown, default=str)
