"""Avatars that stay: created once, named in jobs, deleted with their photo."""

import base64
import io
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from service.app import build
from service.domain import ids
from service.domain.attempt import input_key
from service.domain.ids import JobId
from service.domain.likeness import AvatarId, Consent, SavedAvatar
from service.domain.media import MediaRef
from service.lifecycle.likenesses import MAX_AVATARS
from service.lifecycle.retention import Retention
from service.runtime.input_check import InputCheck
from service.settings import Settings
from service.store import audit, keys
from service.store import likenesses as store
from tests import make
from tests.api.test_avatars import photo as wall
from tests.api.test_avatars import wav
from tests.api.world import KEY, World
from tests.workers.avatars import FACES

FACE = FACES["anna"]
CONSENT = "Anna Berg agreed in writing on 3 May 2026."


@pytest.fixture
def world(settings: Settings) -> Iterator[World]:
    settings.models = ["slate", "puppet"]
    with TestClient(build(settings), base_url="http://rushes.test") as client:
        client.headers["Authorization"] = f"Bearer {KEY}"
        yield World(client)


def create(world: World, headers: dict[str, str] | None = None, **fields: Any) -> Any:
    data = {"name": "Anna", "consent": CONSENT, **fields}
    files = {"image": ("anna.jpg", FACE.read_bytes(), "image/jpeg")}
    return world.client.post("/v1/avatars", data=data, files=files, headers=headers)


def created(world: World, **fields: Any) -> dict[str, Any]:
    answer = create(world, **fields)
    assert answer.status_code == 201, answer.text
    avatar: dict[str, Any] = answer.json()
    return avatar


def stored(world: World, avatar_id: str) -> Path | None:
    return world.runtime.artifacts.path(f"avatars/{avatar_id}/image")


def ask(world: World, **body: Any) -> Any:
    return world.client.post("/generate-avatar", json={"text": "Hello.", **body})


def test_an_avatar_is_created_of_a_form_and_shown(world: World) -> None:
    answer = create(world, consent_by="The studio", voice="hibari-heart")

    assert answer.status_code == 201, answer.text
    avatar = answer.json()
    assert answer.headers["Location"] == f"http://rushes.test/v1/avatars/{avatar['id']}"
    assert (avatar["object"], avatar["name"], avatar["voice"]) == ("avatar", "Anna", "hibari-heart")
    assert avatar["image"]["media_type"] == "image/jpeg"
    assert avatar["image"]["size_bytes"] == FACE.stat().st_size
    assert (avatar["consent"]["text"], avatar["consent"]["by"]) == (CONSENT, "The studio")
    assert avatar["consent"]["at"] == avatar["created_at"]
    assert world.client.get(f"/v1/avatars/{avatar['id']}").json() == avatar
    path = stored(world, avatar["id"])
    assert path is not None
    assert path.read_bytes() == FACE.read_bytes()


def test_an_avatar_is_created_of_json_by_the_name_of_the_key(world: World) -> None:
    image = base64.b64encode(FACE.read_bytes()).decode()
    body = {"name": "Anna", "consent": CONSENT, "image": image}

    answer = world.client.post("/v1/avatars", json=body)

    assert answer.status_code == 201, answer.text
    assert answer.json()["consent"]["by"] == "first key"


def twins() -> bytes:
    """A picture of two faces."""
    face = Image.open(FACE).convert("RGB")
    picture = Image.new("RGB", (2 * face.width, face.height))
    for number in range(2):
        picture.paste(face, (number * face.width, 0))
    file = io.BytesIO()
    picture.save(file, "JPEG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("image", "code"),
    [
        (base64.b64decode(wall()), "face_not_found"),
        (twins(), "several_faces"),
        (b"\xff\xd8\xff\xe0 no picture at all", "image_unreadable"),
        (base64.b64decode(wav()), "unsupported_media_type"),
    ],
    ids=["wall", "twins", "broken", "sound"],
)
def test_a_photo_that_cannot_speak_is_refused_and_nothing_is_kept(
    world: World, image: bytes, code: str
) -> None:
    answer = world.client.post(
        "/v1/avatars",
        data={"name": "x", "consent": CONSENT},
        files={"image": ("x", image, "image/jpeg")},
    )

    assert answer.status_code == 422, answer.text
    (error,) = answer.json()["errors"]
    assert (error["pointer"], error["code"]) == ("/image", code)
    assert world.runtime.artifacts.children("avatars") == []
    assert world.client.get("/v1/avatars").json()["data"] == []


@pytest.mark.parametrize(
    ("fields", "pointer", "code"),
    [
        ({"consent": ""}, "/consent", "missing"),
        ({"consent": "  "}, "/consent", "value_error"),
        ({"name": ""}, "/name", "missing"),
        ({"voice": "hibari-hart"}, "/voice", "voice_unknown"),
        ({"colour": "red"}, "/colour", "unknown_field"),
    ],
)
def test_what_cannot_be_is_refused_by_its_field(
    world: World, fields: dict[str, str], pointer: str, code: str
) -> None:
    answer = create(world, **fields)

    assert answer.status_code == 422, answer.text
    assert [(e["pointer"], e["code"]) for e in answer.json()["errors"]] == [(pointer, code)]


@pytest.mark.parametrize("image", ["https://example.com/a.jpg", "job_06h0d9vq1dp9l4uu8vk1jbtr78"])
def test_the_photo_is_sent_itself(world: World, image: str) -> None:
    body = {"name": "Anna", "consent": CONSENT, "image": image}

    answer = world.client.post("/v1/avatars", json=body)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["code"] == "not_a_file"


def test_avatars_are_listed_in_pages_newest_first(world: World) -> None:
    made = [created(world, name=name)["id"] for name in ("a", "b", "c")]

    first = world.client.get("/v1/avatars", params={"limit": 2}).json()
    second = world.client.get("/v1/avatars", params={"after": first["last_id"]}).json()
    wrong = world.client.get("/v1/avatars", params={"after": "job_1"})

    assert [avatar["id"] for avatar in first["data"]] == [made[2], made[1]]
    assert (first["first_id"], first["has_more"]) == (made[2], True)
    assert [avatar["id"] for avatar in second["data"]] == [made[0]]
    assert second["has_more"] is False
    assert wrong.json()["errors"][0] == {
        "pointer": "?after",
        "detail": "'job_1' is not an avatar's id",
        "code": "invalid_id",
    }


def test_a_key_knows_nothing_of_another_ones_avatars(world: World) -> None:
    avatar_id = created(world)["id"]
    other = {"Authorization": f"Bearer {world.other_key()}"}
    client = world.client

    answers = [
        client.get(f"/v1/avatars/{avatar_id}", headers=other),
        client.delete(f"/v1/avatars/{avatar_id}", headers=other),
    ]
    listed = client.get("/v1/avatars", headers=other).json()
    job = client.post("/generate-avatar", json={"text": "a", "avatar": avatar_id}, headers=other)

    unknown = client.get(f"/v1/avatars/{ids.new('ava')}")
    assert {answer.status_code for answer in (*answers, unknown)} == {404}
    assert answers[0].json()["detail"].startswith("no avatar ava_")
    assert listed["data"] == []
    assert (job.status_code, job.json()["errors"][0]["code"]) == (422, "unknown_avatar")
    assert stored(world, avatar_id) is not None


def test_an_avatar_takes_the_place_of_a_photo_and_brings_its_voice(world: World) -> None:
    avatar = created(world, voice="hibari-heart")

    job = ask(world, avatar=avatar["id"], resolution="512p").json()
    with_audio = ask(world, avatar=avatar["id"], text=None, audio=wav()).json()

    ref = job["input"]["reference_image"]
    assert (ref["source"], ref["avatar_id"]) == ("avatar", avatar["id"])
    assert job["input"]["voice"] == "hibari-heart"
    assert with_audio["input"]["voice"] is None
    path = world.runtime.artifacts.path(input_key(JobId(job["id"]), "reference_image"))
    assert path is not None
    assert path.read_bytes() == FACE.read_bytes()


def test_an_avatar_that_there_is_not_is_refused(world: World) -> None:
    answer = ask(world, avatar="ava_none")

    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert (error["pointer"], error["detail"]) == ("/avatar", "no avatar ava_none")


def test_an_avatar_beside_a_photo_is_one_too_many(world: World) -> None:
    avatar_id = created(world)["id"]
    job = ask(world, avatar=avatar_id).json()
    world.client.post(f"/v1/jobs/{job['id']}/cancel")
    both = {"avatar": avatar_id, "reference_image": wall()}

    answers = [ask(world, **both), world.client.post(f"/v1/jobs/{job['id']}/retry", json=both)]

    for answer in answers:
        assert answer.status_code == 422
        (error,) = answer.json()["errors"]
        assert (error["pointer"], error["code"]) == ("/avatar", "not_together")


def test_a_deleted_avatar_is_gone_and_jobs_keep_their_copy(world: World) -> None:
    avatar_id = created(world)["id"]
    headers = {"Idempotency-Key": "once"}
    body = {"text": "Hello.", "avatar": avatar_id}
    job = world.client.post("/generate-avatar", json=body, headers=headers).json()

    answer = world.client.delete(f"/v1/avatars/{avatar_id}")

    assert answer.json() == {"id": avatar_id, "object": "avatar", "deleted": True}
    assert world.runtime.artifacts.children(f"avatars/{avatar_id}") == []
    assert world.client.get(f"/v1/avatars/{avatar_id}").status_code == 404
    assert world.client.delete(f"/v1/avatars/{avatar_id}").status_code == 404
    assert ask(world, avatar=avatar_id).status_code == 422
    # What was accepted stays so, and can be retried while it has its copy.
    again = world.client.post("/generate-avatar", json=body, headers=headers)
    assert (again.status_code, again.json()["id"]) == (202, job["id"])
    world.client.post(f"/v1/jobs/{job['id']}/cancel")
    retry = world.client.post(f"/v1/jobs/{job['id']}/retry", json={"captions": {"format": "vtt"}})
    assert retry.status_code == 202, retry.text
    assert retry.json()["input"]["reference_image"]["avatar_id"] == avatar_id


def test_a_deleted_avatar_says_nothing_new(world: World) -> None:
    avatar_id = created(world)["id"]
    job = ask(world, avatar=avatar_id).json()
    world.client.post(f"/v1/jobs/{job['id']}/cancel")
    path = f"/v1/jobs/{job['id']}/retry"
    face = base64.b64encode(FACE.read_bytes()).decode()

    kept = world.client.post(path, json={"text": "Good bye."})
    world.client.delete(f"/v1/avatars/{avatar_id}")
    changed = [
        world.client.post(path, json=body) for body in ({"text": "Good bye."}, {"audio": wav()})
    ]
    equal = world.client.post(path, json={"text": "Hello."})
    other_photo = world.client.post(path, json={"text": "Good bye.", "reference_image": face})
    world.client.post(f"/v1/jobs/{equal.json()['id']}/cancel")
    later = world.client.post(f"/v1/jobs/{equal.json()['id']}/retry", json={"text": "Good bye."})

    assert kept.status_code == 202, kept.text
    for answer in (*changed, later):
        assert (answer.status_code, answer.json()["code"]) == (409, "avatar_deleted"), answer.text
        assert "name another avatar or photo" in answer.json()["detail"]
    assert (equal.status_code, other_photo.status_code) == (202, 202)


def test_a_retry_may_name_an_avatar(world: World) -> None:
    avatar_id = created(world)["id"]
    job = ask(world, reference_image=wall()).json()
    world.client.post(f"/v1/jobs/{job['id']}/cancel")

    retry = world.client.post(f"/v1/jobs/{job['id']}/retry", json={"avatar": avatar_id})

    assert retry.status_code == 202, retry.text
    assert retry.json()["input"]["reference_image"]["avatar_id"] == avatar_id


def test_an_admin_deletes_the_avatar_of_a_key_that_was_revoked(world: World) -> None:
    client = world.client
    new = client.post("/v1/keys", json={"name": "left"}).json()
    avatar = create(world, {"Authorization": f"Bearer {new['secret']}"}).json()
    assert client.delete(f"/v1/keys/{new['key']['id']}").status_code == 200

    shown = client.get(f"/v1/avatars/{avatar['id']}")
    job = ask(world, avatar=avatar["id"])
    deleted = client.delete(f"/v1/avatars/{avatar['id']}")

    assert shown.json() == avatar
    assert job.json()["errors"][0]["code"] == "unknown_avatar"  # to show and delete only
    assert (deleted.status_code, stored(world, avatar["id"])) == (200, None)
    (entry,) = world.runtime.db.read(lambda tx: audit.page(tx, size=1))
    assert (entry.act, entry.target, entry.detail) == ("avatar.delete", avatar["id"], "Anna")


def test_an_idempotency_key_creates_one_avatar(world: World) -> None:
    headers = {"Idempotency-Key": "anna-1"}

    first, second = (create(world, headers) for _ in range(2))
    other = create(world, headers, name="Berta")

    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    assert second.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert len(world.client.get("/v1/avatars").json()["data"]) == 1
    assert len(world.runtime.artifacts.children("avatars")) == 1


def test_photos_count_as_stored_bytes_of_their_key(settings: Settings) -> None:
    settings.models = ["puppet"]
    settings.max_input_bytes_per_key = FACE.stat().st_size + 1000
    with TestClient(build(settings), base_url="http://rushes.test") as client:
        client.headers["Authorization"] = f"Bearer {KEY}"
        world = World(client)
        first = created(world)
        full = create(world)
        job = ask(world, avatar=first["id"])
        client.delete(f"/v1/avatars/{first['id']}")
        again = create(world)

    assert (full.status_code, full.json()["code"]) == (429, "inputs_full")
    assert (job.status_code, job.json()["code"]) == (429, "inputs_full")
    assert again.status_code == 201


class NoCheck(InputCheck):
    finds_faces = False


def test_without_the_packages_no_avatar_is_created(world: World) -> None:
    state = world.client.app.state  # type: ignore[attr-defined]
    state.runtime = replace(world.runtime, input_check=NoCheck({}))

    answer = create(world)

    assert (answer.status_code, answer.json()["code"]) == (409, "no_face_check")
    assert "rushes[avatar]" in answer.json()["detail"]


@pytest.mark.parametrize("models", [["slate"], ["slate", "puppet"]], ids=["videos", "avatars"])
def test_a_service_of_avatars_says_at_its_start_that_it_checks_no_photos(
    settings: Settings,
    models: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(InputCheck, "finds_faces", False)
    settings.models = models

    with TestClient(build(settings)):
        pass

    lines = [line for line in caplog.messages if "photos are checked by workers alone" in line]
    assert len(lines) == ("puppet" in models)


def saved(world: World, avatar_id: str) -> SavedAvatar:
    now = world.runtime.clock()
    (key_id,) = {key.id for key in world.runtime.db.read(keys.every)}
    return SavedAvatar(
        id=AvatarId(avatar_id),
        key_id=key_id,
        name="x",
        image=MediaRef(source="upload", size_bytes=1, media_type="image/png", sha256="0" * 64),
        consent=Consent(text=CONSENT, by="x", at=now),
        created_at=now,
    )


def test_a_key_has_a_limit_of_avatars(world: World) -> None:
    avatars = [saved(world, ids.new("ava")) for _ in range(MAX_AVATARS)]
    make.do(world.runtime.db, lambda tx: [store.insert(tx, each, None) for each in avatars])

    answer = create(world)

    assert (answer.status_code, answer.json()["code"]) == (409, "too_many_avatars")
    assert world.runtime.artifacts.children("avatars") == []


def test_a_photo_without_its_avatar_is_collected(world: World, tmp_path: Path) -> None:
    """It was stored by a process that died before it inserted the row."""
    runtime, kept = world.runtime, created(world)["id"]
    stray = ids.new("ava")
    file = tmp_path / "stray"
    file.write_bytes(b"x")
    runtime.artifacts.put(f"avatars/{stray}/image", file, "image/png")
    retention = Retention(runtime.db, runtime.artifacts, runtime.terms.retention)

    retention.tick(runtime.clock())
    assert set(runtime.artifacts.children("avatars")) == {kept, stray}
    retention.tick(runtime.clock() + timedelta(days=31))

    assert runtime.artifacts.children("avatars") == [kept]
