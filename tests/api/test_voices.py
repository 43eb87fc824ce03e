"""Voices: listed, listened to, cloned by a provider, used and deleted."""

import base64
import io
import json
import time
import wave
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from service.app import build
from service.domain import ids
from service.domain.ids import JobId, KeyId
from service.domain.job import Job
from service.domain.likeness import ClonedVoice, Consent, VoiceId
from service.lifecycle.likenesses import MAX_VOICES
from service.lifecycle.retention import Retention
from service.settings import Settings
from service.store import audit, keys, likenesses
from service.store import jobs as store
from tests import make
from tests.api.test_key_slots import all_taken
from tests.api.test_saved_avatars import FACE, create
from tests.api.test_speech import Studio, is_final
from tests.api.world import KEY, World
from tests.speech import provider as elevenlabs
from tests.speech.provider import CLONE, VOICE, Provider, Reply, Request, problem, serve, speech
from tests.speech.test_elevenlabs import form_parts

CONSENT = "Åsa Berg agreed in writing on 3 May 2026."


@dataclass
class Account:
    """The voices of an account with ElevenLabs, as its server answers."""

    voices: dict[str, dict[str, Any]] = field(default_factory=dict)
    clones: int = 0
    failure: Reply | None = None

    def respond(self, request: Request) -> Reply:
        if self.failure is not None:
            return self.failure
        path = request.path.partition("?")[0]
        if path == "/v2/voices":
            return _json({"voices": list(self.voices.values()), "has_more": False})
        if path == "/v1/voices/add":
            self.clones += 1
            return self._clone(f"{CLONE}{self.clones}")
        if request.method == "DELETE":
            gone = self.voices.pop(path.rpartition("/")[2], None)
            return problem(404, "no such voice") if gone is None else _json({"status": "ok"})
        voice_id = path.split("/")[3]
        return speech(request) if voice_id in self.voices else problem(404, "no such voice")

    def _clone(self, voice_id: str) -> Reply:
        self.voices[voice_id] = {"voice_id": voice_id, "name": "x", "category": "cloned"}
        return _json({"voice_id": voice_id, "requires_verification": False})


def _json(body: Any) -> Reply:
    return Reply(body=json.dumps(body).encode())


@pytest.fixture
def account() -> Account:
    premade = {"voice_id": VOICE, "name": "Rachel", "labels": {"language": "en"}}
    own = {"voice_id": "owner0123456789ABCDE", "name": "Boss", "category": "cloned"}
    return Account({voice["voice_id"]: voice for voice in (premade, own)})


@pytest.fixture
def provider(account: Account) -> Iterator[Provider]:
    with serve() as provider:
        provider.respond = account.respond
        yield provider


@pytest.fixture
def studio(settings: Settings, provider: Provider) -> Iterator[Studio]:
    settings.models = ["slate", "puppet"]
    settings.elevenlabs_api_key = SecretStr(elevenlabs.KEY)
    settings.elevenlabs_url = provider.url
    with TestClient(build(settings), base_url="http://rushes.test") as client:
        client.headers["Authorization"] = f"Bearer {KEY}"
        yield Studio(World(client), provider)


def recording(seconds: float = 1.0) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as target:
        target.setparams((1, 2, 16_000, 0, "NONE", ""))
        target.writeframes(b"\x10\x20" * int(seconds * 16_000))
    return file.getvalue()


def clone(studio: Studio, headers: dict[str, str] | None = None, **fields: Any) -> Any:
    data = {"name": "Åsa", "consent": CONSENT, **fields}
    files = [("samples", (f"{n}.wav", recording(n), "audio/wav")) for n in (1, 2)]
    return studio.world.client.post("/v1/voices", data=data, files=files, headers=headers)


def cloned(studio: Studio, **fields: Any) -> dict[str, Any]:
    answer = clone(studio, **fields)
    assert answer.status_code == 201, answer.text
    voice: dict[str, Any] = answer.json()
    return voice


def listed(studio: Studio, headers: dict[str, str] | None = None) -> list[str]:
    answer = studio.world.client.get("/v1/voices", headers=headers)
    assert answer.status_code == 200, answer.text
    return [voice["id"] for voice in answer.json()["data"]]


def other_key(studio: Studio, *, admin: bool = False) -> dict[str, str]:
    return {"Authorization": f"Bearer {studio.world.other_key(admin=admin)}"}


def test_the_voices_of_the_service_are_listed_with_what_they_can(studio: Studio) -> None:
    body = studio.world.client.get("/v1/voices").json()

    voices = {voice["id"]: voice for voice in body["data"]}
    heart, rachel = voices["hibari-heart"], voices[f"elevenlabs-{VOICE}"]
    assert (heart["language"], heart["provider"], heart["word_times"]) == ("en-US", "hibari", True)
    assert (heart["min_speed"], heart["max_speed"]) == (0.5, 2.0)
    assert heart["sample_url"] == "http://rushes.test/v1/voices/hibari-heart/sample"
    assert (rachel["name"], rachel["language"], rachel["is_clone"]) == ("Rachel", "en", False)
    assert (rachel["consent"], rachel["created_at"]) == (None, None)
    assert body["problems"] == []
    assert studio.world.client.get("/v1/voices/hibari-heart").json() == heart


def test_voices_are_listed_in_pages_and_by_language(studio: Studio) -> None:
    client = studio.world.client
    every = listed(studio)

    first = client.get("/v1/voices", params={"limit": 1}).json()
    second = client.get("/v1/voices", params={"after": first["last_id"]}).json()
    german = client.get("/v1/voices", params={"language": "de"}).json()["data"]
    english = client.get("/v1/voices", params={"language": "EN"}).json()["data"]
    wrong = client.get("/v1/voices", params={"after": "nobody"})

    assert (first["first_id"], first["has_more"]) == (every[0], True)
    assert [voice["id"] for voice in second["data"]] == every[1:]
    assert all(voice["language"].startswith("de") or not voice["language"] for voice in german)
    assert {"hibari-heart", f"elevenlabs-{VOICE}"} <= {voice["id"] for voice in english}
    assert wrong.json()["errors"][0]["code"] == "invalid_id"


def test_a_list_goes_on_behind_a_clone_that_was_deleted(studio: Studio) -> None:
    _, second, third = (cloned(studio)["id"] for _ in range(3))
    before = listed(studio)
    assert before[:2] == [third, second]
    studio.world.client.delete(f"/v1/voices/{second}")

    page = studio.world.client.get("/v1/voices", params={"after": second}).json()

    names = [voice["id"] for voice in page["data"]]
    assert names[: len(before) - 2] == before[2:]
    assert not {second, third} & set(names)


def test_a_clone_is_answered_where_its_key_has_too_many_lists(studio: Studio) -> None:
    """It is made and paid for by then."""
    with all_taken(studio.world, studio.world.runtime.throttles.lists):
        voice = cloned(studio)

    assert studio.world.client.get(f"/v1/voices/{voice['id']}").json() == voice


def test_a_provider_that_fails_hides_no_other_voice(studio: Studio, account: Account) -> None:
    account.failure = problem(401, {"message": f"the key {elevenlabs.KEY} is wrong"})

    body = studio.world.client.get("/v1/voices").json()

    assert "hibari-heart" in {voice["id"] for voice in body["data"]}
    (problem_told,) = body["problems"]
    assert problem_told.endswith("is refused: ElevenLabs answers 401: the key … is wrong")


def test_a_provider_that_hangs_holds_up_no_other_request(
    studio: Studio, account: Account, provider: Provider
) -> None:
    asked, over, in_time = Event(), Event(), []

    def respond(request: Request) -> Reply:
        asked.set()
        in_time.append(over.wait(60))
        return account.respond(request)

    provider.respond = respond
    client, path = studio.world.client, f"/v1/voices/elevenlabs-{VOICE}"
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(listed, studio)
        assert asked.wait(60)
        offline = client.get("/v1/voices/hibari-heart")
        waiting = [client.get(path) for _ in range(70)]
        body = client.get("/v1/voices").json()
        studio.submit(voice="hibari-heart")
        over.set()

    assert offline.status_code == 200
    assert {(each.status_code, each.json()["code"]) for each in waiting} == {
        (503, "voice_provider_failed")
    }
    assert "Retry-After" in waiting[0].headers
    assert len(body["problems"]) == 1
    assert "hibari-heart" in first.result()
    assert in_time == [True]  # one request, and nobody waited for its end


def test_a_voice_is_cloned_spoken_with_and_deleted(studio: Studio, account: Account) -> None:
    answer = clone(studio, language="sv", remove_noise="true", consent_by="The studio")

    assert answer.status_code == 201, answer.text
    voice = answer.json()
    assert answer.headers["Location"] == f"http://rushes.test/v1/voices/{voice['id']}"
    assert (voice["name"], voice["language"], voice["is_clone"]) == ("Åsa", "sv", True)
    assert (voice["consent"]["text"], voice["consent"]["by"]) == (CONSENT, "The studio")
    (request,) = [one for one in studio.provider.requests if one.path == "/v1/voices/add"]
    parts = form_parts(request)
    assert [part.get_filename() for part in parts][-2:] == ["sample-1.wav", "sample-2.wav"]
    assert parts[-1].get_payload(decode=True) == recording(2)
    assert listed(studio)[0] == voice["id"]
    assert f"elevenlabs-{CLONE}1" not in listed(studio)  # it has a name of its own

    job_id = studio.submit(voice=voice["id"])
    assert studio.ticket()["job_id"] == job_id
    assert studio.world.job(job_id)["input"]["voice"] == voice["id"]
    assert f"/v1/text-to-speech/{CLONE}1/" in studio.provider.requests[-1].path

    client = studio.world.client
    deleted = client.delete(f"/v1/voices/{voice['id']}")
    assert deleted.json() == {"id": voice["id"], "object": "voice", "deleted": True}
    assert f"{CLONE}1" not in account.voices
    assert client.get(f"/v1/voices/{voice['id']}").status_code == 404
    assert studio.ask(voice=voice["id"]).json()["errors"][0]["code"] == "voice_unknown"


def test_a_job_that_waits_for_a_voice_that_is_deleted_fails_and_says_so(
    studio: Studio, account: Account
) -> None:
    voice = cloned(studio)
    account.failure = problem(429, "later", ("Retry-After", "2"))
    job_id = studio.submit(voice=voice["id"])
    studio.until(job_id, lambda job: job["stage_detail"] is not None)
    account.failure = None

    assert studio.world.client.delete(f"/v1/voices/{voice['id']}").status_code == 200

    job = studio.until(job_id, is_final)
    assert (job["status"], job["error"]["code"]) == ("failed", "voice_unknown")


def test_a_clone_is_its_keys_alone(studio: Studio) -> None:
    voice_id = cloned(studio)["id"]
    other, client = other_key(studio, admin=True), studio.world.client

    assert voice_id not in listed(studio, other)
    assert f"elevenlabs-{CLONE}1" not in listed(studio, other)
    stranger = {"Authorization": f"Bearer {studio.world.other_key()}"}
    for path in (f"/v1/voices/{voice_id}", f"/v1/voices/{voice_id}/sample"):
        assert client.get(path, headers=stranger).status_code == 404
    assert client.delete(f"/v1/voices/{voice_id}", headers=stranger).status_code == 404
    for name in (voice_id, f"elevenlabs-{CLONE}1"):
        face = "https://example.com/face.jpg"
        body = {"text": "Hello.", "voice": name, "reference_image": face}
        answer = client.post("/generate-avatar", json=body, headers=other)
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "voice_unknown")


def test_an_admin_deletes_the_clone_of_a_key_that_was_revoked(
    studio: Studio, account: Account
) -> None:
    client = studio.world.client
    new = client.post("/v1/keys", json={"name": "left"}).json()
    voice = clone(studio, {"Authorization": f"Bearer {new['secret']}"}).json()
    assert client.delete(f"/v1/keys/{new['key']['id']}").status_code == 200

    shown = client.get(f"/v1/voices/{voice['id']}")
    sample = client.get(f"/v1/voices/{voice['id']}/sample")
    deleted = client.delete(f"/v1/voices/{voice['id']}")

    assert (shown.json(), sample.status_code) == (voice, 200)
    assert deleted.status_code == 200
    assert f"{CLONE}1" not in account.voices
    (entry,) = studio.world.runtime.db.read(lambda tx: audit.page(tx, size=1))
    assert (entry.act, entry.target, entry.detail) == ("voice.delete", voice["id"], "Åsa")


def test_clones_of_the_account_that_were_not_made_here_are_for_admins(studio: Studio) -> None:
    boss, user = "elevenlabs-owner0123456789ABCDE", other_key(studio)

    assert boss in listed(studio)
    assert boss not in listed(studio, user)
    assert studio.ask(voice=boss).status_code == 202
    for name in (boss, "elevenlabs-nobody0123456789ABC"):
        answer = ask_as(studio, user, name)
        assert answer.status_code == 422, answer.text
        assert answer.json()["errors"][0]["code"] == "voice_unknown"
    assert ask_as(studio, user, f"elevenlabs-{VOICE}").status_code == 202


def ask_as(studio: Studio, headers: dict[str, str], voice: str) -> Any:
    face = base64.b64encode(FACE.read_bytes()).decode()
    body = {"text": "Hello.", "voice": voice, "reference_image": face}
    return studio.world.client.post("/generate-avatar", json=body, headers=headers)


def test_a_voice_that_cannot_be_looked_for_now_is_waited_for(
    studio: Studio, account: Account
) -> None:
    """The account's own clone is not spoken by chance, and its price is known."""
    user, world = other_key(studio), studio.world
    account.failure = problem(503, "later")
    boss, premade = (
        ask_as(studio, user, f"elevenlabs-{name}") for name in ("owner0123456789ABCDE", VOICE)
    )

    jobs = [JobId(answer.json()["id"]) for answer in (boss, premade)]
    until(lambda: all(job_row(world, job).stage_detail for job in jobs))
    account.failure = None
    world.runtime.voices.catalog._account_until = 0.0

    assert premade.json()["cost"]["estimated_usd"] > 0
    until(lambda: job_row(world, jobs[1]).speech is not None)
    until(lambda: job_row(world, jobs[0]).error is not None)
    error = job_row(world, jobs[0]).error
    assert error is not None
    assert error.code == "voice_unknown"


def job_row(world: World, job_id: JobId) -> Job:
    job = world.runtime.db.read(lambda tx: store.get(tx, job_id))
    assert job is not None
    return job


@pytest.mark.parametrize(
    ("fields", "pointer", "code"),
    [
        ({"consent": ""}, "/consent", "missing"),
        ({"name": ""}, "/name", "missing"),
        ({"language": "Swedish!"}, "/language", "string_pattern_mismatch"),
        ({"speed": "2"}, "/speed", "unknown_field"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_sent(
    studio: Studio, fields: dict[str, str], pointer: str, code: str
) -> None:
    answer = clone(studio, **fields)

    assert answer.status_code == 422, answer.text
    assert [(e["pointer"], e["code"]) for e in answer.json()["errors"]] == [(pointer, code)]
    assert studio.provider.requests == []


@pytest.mark.parametrize(
    ("samples", "pointer", "code"),
    [
        ([], "/samples", "missing"),
        ([b"no sound"], "/samples/0", "unsupported_media_type"),
        ([recording(), b"\x89PNG\r\n\x1a\n"], "/samples/1", "unsupported_media_type"),
    ],
    ids=["none", "text", "picture"],
)
def test_samples_are_recordings(
    studio: Studio, samples: list[bytes], pointer: str, code: str
) -> None:
    files = [("samples", ("a", content, "audio/wav")) for content in samples]
    data = {"name": "Åsa", "consent": CONSENT}

    answer = studio.world.client.post("/v1/voices", data=data, files=files or {"x": b""})

    assert answer.status_code == 422, answer.text
    error = answer.json()["errors"][0]
    if samples:
        assert (error["pointer"], error["code"]) == (pointer, code)
    assert studio.provider.requests == []


def test_a_sample_of_more_than_ten_megabytes_is_too_large(studio: Studio) -> None:
    files = [("samples", ("a.wav", recording(400), "audio/wav"))]
    data = {"name": "Åsa", "consent": CONSENT}

    answer = studio.world.client.post("/v1/voices", data=data, files=files)

    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


@pytest.mark.parametrize(
    ("reply", "status", "code", "says"),
    [
        (problem(422, [{"msg": "too noisy"}]), 422, "invalid_request", "422: too noisy"),
        (problem(400, {"message": "no slot"}), 422, "invalid_request", "400: no slot"),
        (problem(401, {"message": "bad key"}), 503, "voice_provider_failed", "401: bad key"),
        (problem(429, "busy", ("Retry-After", "7")), 503, "voice_provider_failed", "429: busy"),
        (problem(500, "oops"), 503, "voice_provider_failed", "500: oops"),
        (Reply(body=b"x" * 9, cut=True), 503, "voice_provider_failed", "broke off"),
    ],
    ids=["422", "400", "401", "429", "500", "cut"],
)
def test_a_failure_of_the_provider_is_told_and_nothing_is_kept(
    studio: Studio, account: Account, reply: Reply, status: int, code: str, says: str
) -> None:
    account.failure = reply

    answer = clone(studio)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert says in answer.json()["detail"]
    if status == 503:
        assert int(answer.headers["Retry-After"]) == (7 if "429" in says else 30)
    account.failure = None
    assert not any(voice_id.startswith("voi_") for voice_id in listed(studio))


def test_an_idempotency_key_clones_once(studio: Studio, account: Account) -> None:
    headers = {"Idempotency-Key": "asa-1"}

    first, second = (clone(studio, headers) for _ in range(2))
    other = clone(studio, headers, name="Berta")

    assert first.json() == second.json()
    assert second.headers["Idempotency-Replayed"] == "true"
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert account.clones == 1


def test_a_clone_that_is_over_the_limit_once_it_is_made_is_deleted_again(
    studio: Studio, account: Account, provider: Provider
) -> None:
    runtime = studio.world.runtime
    (owner,) = runtime.db.read(keys.every)

    def respond(request: Request) -> Reply:
        for number in range(MAX_VOICES):
            voice = cloned_row(owner.id, f"limit{number:015}", runtime.clock())
            make.do(runtime.db, lambda tx, voice=voice: likenesses.insert(tx, voice, None))
        provider.respond = account.respond
        return account.respond(request)

    provider.respond = respond
    answer = clone(studio)

    assert (answer.status_code, answer.json()["code"]) == (409, "too_many_voices")
    assert account.clones == 1
    assert f"{CLONE}1" not in account.voices


def test_of_two_clones_that_one_idempotency_key_makes_at_once_one_stays(
    studio: Studio, account: Account, provider: Provider
) -> None:
    headers, first = {"Idempotency-Key": "asa-2"}, []

    def respond(request: Request) -> Reply:
        provider.respond = account.respond
        first.append(clone(studio, headers))
        return account.respond(request)

    provider.respond = respond
    second = clone(studio, headers)

    assert second.json() == first[0].json()
    assert second.headers["Idempotency-Replayed"] == "true"
    assert account.clones == 2
    assert f"{CLONE}1" in account.voices
    assert f"{CLONE}2" not in account.voices


def test_a_clone_whose_deletion_fails_stays_until_it_succeeds(
    studio: Studio, account: Account
) -> None:
    voice_id, client = cloned(studio)["id"], studio.world.client
    account.failure = problem(503, "later")

    failed = client.delete(f"/v1/voices/{voice_id}")
    account.failure = None
    there = client.get(f"/v1/voices/{voice_id}").status_code
    del account.voices[f"{CLONE}1"]  # it was deleted, and the answer was lost
    again = client.delete(f"/v1/voices/{voice_id}")

    assert (failed.status_code, failed.json()["code"]) == (503, "voice_provider_failed")
    assert (there, again.status_code) == (200, 200)


def test_a_voice_of_the_service_is_not_deleted(studio: Studio) -> None:
    client = studio.world.client

    built_in = client.delete("/v1/voices/hibari-heart")
    unknown = client.delete("/v1/voices/hibari-hart")

    assert (built_in.status_code, built_in.json()["code"]) == (409, "not_your_voice")
    assert unknown.status_code == 404


def test_a_key_has_a_limit_of_voices(studio: Studio) -> None:
    runtime = studio.world.runtime
    (owner,) = runtime.db.read(keys.every)
    for number in range(MAX_VOICES):
        voice = cloned_row(owner.id, f"limit{number:015}", runtime.clock())
        make.do(runtime.db, lambda tx, voice=voice: likenesses.insert(tx, voice, None))

    answer = clone(studio)

    assert (answer.status_code, answer.json()["code"]) == (409, "too_many_voices")
    assert studio.provider.requests == []


def cloned_row(key_id: KeyId, provider_id: str, now: Any) -> ClonedVoice:
    return ClonedVoice(
        id=VoiceId(ids.new("voi")),
        key_id=key_id,
        name="x",
        provider_id=provider_id,
        consent=Consent(text=CONSENT, by="x", at=now),
        created_at=now,
    )


def test_without_an_account_no_voice_is_cloned(settings: Settings) -> None:
    settings.models = ["puppet"]
    with serve() as provider, TestClient(build(settings), base_url="http://rushes.test") as client:
        client.headers["Authorization"] = f"Bearer {KEY}"
        answer = clone(Studio(World(client), provider))

    assert (answer.status_code, answer.json()["code"]) == (409, "no_voice_provider")


def spoken_for(studio: Studio) -> int:
    return sum("/with-timestamps" in request.path for request in studio.provider.requests)


def test_a_sample_is_spoken_once_and_paid_by_who_asked_first(studio: Studio) -> None:
    client, path = studio.world.client, f"/v1/voices/elevenlabs-{VOICE}/sample"

    first = client.get(path)
    again = client.get(path, headers=other_key(studio))

    assert first.status_code == 200, first.text
    assert first.headers["content-type"] == "audio/wav"
    with wave.open(io.BytesIO(first.content)) as sound:
        assert 1 < sound.getnframes() / sound.getframerate() < 10
    assert again.content == first.content
    assert spoken_for(studio) == 1
    usage = client.get("/v1/usage", params={"group_by": "model"}).json()
    assert [row["model"] for row in usage["data"]] == ["elevenlabs"]
    assert usage["total"]["cost_usd"] > 0


def test_a_sample_that_several_ask_for_at_once_is_paid_once(
    studio: Studio, account: Account, provider: Provider
) -> None:
    asked, over, path = Event(), Event(), f"/v1/voices/elevenlabs-{VOICE}/sample"
    listed(studio)

    def respond(request: Request) -> Reply:
        asked.set()
        over.wait(60)
        return account.respond(request)

    provider.respond = respond
    headers = [other_key(studio) for _ in range(3)]
    slots = studio.world.runtime.throttles.voices._semaphores
    with ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(studio.world.client.get, path, headers=each) for each in headers]
        assert asked.wait(60)
        until(lambda: len(slots) == 3)  # all of them found no sample
        over.set()

    assert [each.result().status_code for each in answers] == [200, 200, 200]
    assert spoken_for(studio) == 1


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.01)


def test_the_offline_voice_gives_a_sample_for_nothing(studio: Studio) -> None:
    answer = studio.world.client.get("/v1/voices/hibari-heart/sample")

    assert answer.status_code == 200, answer.text
    assert studio.world.client.get("/v1/usage").json()["total"]["cost_usd"] == 0


def test_a_sample_of_a_clone_goes_with_it(studio: Studio) -> None:
    voice_id, client = cloned(studio)["id"], studio.world.client
    assert client.get(f"/v1/voices/{voice_id}/sample").status_code == 200
    assert studio.world.runtime.artifacts.children("voices") == [voice_id]

    client.delete(f"/v1/voices/{voice_id}")

    assert studio.world.runtime.artifacts.children(f"voices/{voice_id}") == []
    assert client.get(f"/v1/voices/{voice_id}/sample").status_code == 404


def test_a_sample_of_a_clone_that_is_deleted_meanwhile_is_deleted_too(
    studio: Studio, account: Account, provider: Provider
) -> None:
    voice_id, client = cloned(studio)["id"], studio.world.client
    deleted: list[int] = []

    def respond(request: Request) -> Reply:
        reply = account.respond(request)
        if "/with-timestamps" in request.path:
            deleted.append(client.delete(f"/v1/voices/{voice_id}").status_code)
        return reply

    provider.respond = respond
    answer = client.get(f"/v1/voices/{voice_id}/sample")

    assert (answer.status_code, deleted) == (404, [200])
    assert studio.world.runtime.artifacts.children("voices") == []


def test_a_sample_without_its_clone_is_collected(studio: Studio, tmp_path: Path) -> None:
    """It was stored by a process that died after the clone was deleted."""
    runtime, kept, stray = studio.world.runtime, cloned(studio)["id"], ids.new("voi")
    file = tmp_path / "stray"
    for name in (kept, stray, "hibari-heart"):
        file.write_bytes(b"x")
        runtime.artifacts.put(f"voices/{name}/sample.wav", file, "audio/wav")
    retention = Retention(runtime.db, runtime.artifacts, runtime.terms.retention)

    retention.tick(runtime.clock())
    assert set(runtime.artifacts.children("voices")) == {kept, stray, "hibari-heart"}
    retention.tick(runtime.clock() + timedelta(days=31))

    assert set(runtime.artifacts.children("voices")) == {kept, "hibari-heart"}


def test_a_sample_is_within_the_budget(studio: Studio) -> None:
    body = {"name": "poor", "budget_usd": 0.0001}
    secret = studio.world.client.post("/v1/keys", json=body).json()["secret"]
    headers = {"Authorization": f"Bearer {secret}"}

    answer = studio.world.client.get(f"/v1/voices/elevenlabs-{VOICE}/sample", headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (402, "budget_exceeded")
    assert spoken_for(studio) == 0


def test_a_sample_that_the_provider_cannot_give_now_says_when(
    studio: Studio, account: Account
) -> None:
    listed(studio)
    account.failure = problem(429, "busy", ("Retry-After", "9"))

    answer = studio.world.client.get(f"/v1/voices/elevenlabs-{VOICE}/sample")

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "9")


def test_an_avatar_may_have_a_clone_for_its_voice(studio: Studio) -> None:
    voice_id = cloned(studio)["id"]
    avatar = create(studio.world, voice=voice_id).json()

    job = studio.ask(avatar=avatar["id"], reference_image=None, voice=None)

    assert job.status_code == 202, job.text
    assert job.json()["input"]["voice"] == voice_id
