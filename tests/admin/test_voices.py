"""The page of voices and avatars, of all keys."""

import io
import wave

import pytest

from service.domain import ids
from service.domain.likeness import AVATAR_PREFIX, AvatarId, SavedAvatar
from service.store import audit, likenesses
from tests.admin.person import Person
from tests.admin.test_make import send
from tests.api.test_saved_avatars import CONSENT, FACE, create
from tests.api.test_speech import Studio
from tests.api.test_voices import account as account
from tests.api.test_voices import cloned, other_key
from tests.api.test_voices import provider as provider
from tests.api.test_voices import studio as studio
from tests.api.world import KEY


@pytest.fixture
def admin(studio: Studio) -> Person:
    return Person(studio.world).log_in(KEY)


@pytest.fixture
def viewer(studio: Studio) -> Person:
    body = {"name": "support", "role": "viewer"}
    made = studio.world.client.post("/v1/keys", json=body).json()
    return Person(studio.world).log_in(made["secret"])


def of_other_key(studio: Studio) -> tuple[str, str]:
    """An avatar and a clone of a key that is not the admin's, by their ids."""
    key = other_key(studio)
    avatar = create(studio.world, key, name="Anna <b>", voice="hibari-heart")
    assert avatar.status_code == 201, avatar.text
    client, own = studio.world.client, studio.world.client.headers["Authorization"]
    client.headers["Authorization"] = key["Authorization"]
    voice = cloned(studio)
    client.headers["Authorization"] = own
    return avatar.json()["id"], voice["id"]


def last_acts(studio: Studio, number: int) -> list[tuple[str, str, str | None]]:
    entries = studio.world.runtime.db.read(lambda tx: audit.page(tx, size=number))
    return [(each.act, each.target, each.detail) for each in entries]


def test_an_avatar_of_ones_own_can_be_chosen_in_the_form(studio: Studio, admin: Person) -> None:
    foreign, _ = of_other_key(studio)
    own = create(studio.world, name="Marc").json()["id"]

    page = admin.get("/admin/new/avatar").text
    assert f'<option value="{own}">Marc</option>' in page
    assert foreign not in page

    made = send(admin, "/admin/new/avatar", text="Hello.", avatar=own)
    job_id = made.headers["hx-redirect"].rpartition("/")[2]
    assert studio.world.job(job_id)["input"]["reference_image"]["width"] > 0


def test_voices_and_avatars_of_all_keys_are_shown(studio: Studio, viewer: Person) -> None:
    avatar_id, voice_id = of_other_key(studio)

    page = viewer.get("/admin/voices").text
    photo = viewer.get(f"/admin/voices/avatars/{avatar_id}/photo")

    assert page.count(avatar_id) >= 2  # with its photo
    assert "Anna &lt;b&gt;" in page
    assert CONSENT in page
    assert voice_id in page
    assert "hibari-heart" in page
    assert "Rachel" in page
    assert page.count("other") >= 2  # the name of their key
    assert photo.content == FACE.read_bytes()
    assert photo.headers["Content-Type"] == "image/jpeg"
    assert "sandbox" in photo.headers["Content-Security-Policy"]
    assert photo.headers["X-Content-Type-Options"] == "nosniff"
    assert "/delete" not in page
    assert "data-play" not in page


def test_an_avatar_is_deleted_with_its_photo(studio: Studio, admin: Person) -> None:
    avatar_id, _ = of_other_key(studio)

    answer = admin.post(f"/admin/voices/avatars/{avatar_id}/delete")

    assert answer.status_code == 303
    assert avatar_id not in admin.get("/admin/voices").text
    assert admin.get(f"/admin/voices/avatars/{avatar_id}/photo").status_code == 404
    assert studio.world.runtime.artifacts.path(f"avatars/{avatar_id}/image") is None
    assert last_acts(studio, 1) == [("avatar.delete", avatar_id, "Anna <b>")]
    assert "avatar.delete" in admin.get("/admin/audit").text


def test_a_clone_is_deleted_here_and_at_its_provider(studio: Studio, admin: Person) -> None:
    _, voice_id = of_other_key(studio)

    answer = admin.post(f"/admin/voices/{voice_id}/delete")

    assert answer.status_code == 303
    assert voice_id not in admin.get("/admin/voices").text
    assert any(request.method == "DELETE" for request in studio.provider.requests)
    assert last_acts(studio, 1) == [("voice.delete", voice_id, "Åsa")]
    assert admin.post(f"/admin/voices/{voice_id}/delete").status_code == 404


def test_a_voice_of_the_service_is_not_deleted(studio: Studio, admin: Person) -> None:
    answer = admin.post("/admin/voices/hibari-heart/delete")

    assert answer.status_code == 409
    assert "only clones can be deleted" in answer.text


def test_a_sample_of_each_voice_is_played(studio: Studio, admin: Person) -> None:
    _, voice_id = of_other_key(studio)

    for each in ("hibari-heart", voice_id):
        answer = admin.get(f"/admin/voices/{each}/sample")
        assert answer.status_code == 200, answer.text
        assert answer.headers["Content-Type"] == "audio/wav"
        with wave.open(io.BytesIO(answer.content)) as sound:
            assert sound.getnframes() > sound.getframerate()
    assert admin.get("/admin/voices/hibari-nobody/sample").status_code == 404


def test_a_viewer_deletes_nothing_and_has_nothing_spoken(studio: Studio, viewer: Person) -> None:
    avatar_id, voice_id = of_other_key(studio)

    refused = [
        viewer.post(f"/admin/voices/avatars/{avatar_id}/delete"),
        viewer.post(f"/admin/voices/{voice_id}/delete"),
        viewer.get("/admin/voices/hibari-heart/sample"),
    ]

    assert [answer.status_code for answer in refused] == [403] * 3
    page = viewer.get("/admin/voices").text
    assert avatar_id in page
    assert voice_id in page


def test_avatars_are_shown_in_pages(studio: Studio, admin: Person) -> None:
    first = create(studio.world, name="The first").json()["id"]
    db = studio.world.runtime.db
    avatar = db.read(lambda tx: likenesses.get(tx, SavedAvatar, first, None))
    assert avatar is not None
    for number in range(24):
        update = {"id": AvatarId(ids.new(AVATAR_PREFIX)), "name": f"Number {number}"}
        copy = avatar.model_copy(update=update)
        db.write(lambda tx, copy=copy: likenesses.insert(tx, copy, None)).result()

    newest = admin.get("/admin/voices").text
    assert first not in newest
    link = newest.split('rel="next" href="', 1)[1].split('"')[0]
    oldest = admin.get(f"/admin/voices{link}").text
    assert first in oldest
    assert "Number 23" not in oldest
