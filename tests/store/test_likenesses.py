"""Avatars and cloned voices are rows of their key alone."""

from typing import Any

import pytest
import sqlalchemy as sa

from service.domain import ids
from service.domain.ids import KeyId
from service.domain.job import Idempotency
from service.domain.likeness import AVATAR_PREFIX, VOICE_PREFIX, ClonedVoice, Consent, SavedAvatar
from service.domain.media import MediaRef
from service.store import likenesses
from service.store.database import Database
from tests import make

CONSENT = Consent(text="She agreed in writing.", by="studio", at=make.START)
PHOTO = MediaRef(source="upload", media_type="image/png", size_bytes=1000, width=640, height=800)
REQUEST = Idempotency(name="once", fingerprint=bytes(range(32)))


def avatar(key_id: KeyId, **changes: Any) -> SavedAvatar:
    fields = {"id": ids.new(AVATAR_PREFIX), "key_id": key_id, "name": "Anna"}
    more = {"image": PHOTO, "warnings": ("dark",), "consent": CONSENT, "created_at": make.START}
    return SavedAvatar.model_validate({**fields, **more, **changes})


def voice(key_id: KeyId, provider_id: str) -> ClonedVoice:
    voice_id = ids.new(VOICE_PREFIX)
    fields = {"id": voice_id, "key_id": key_id, "name": "Anna", "provider_id": provider_id}
    return ClonedVoice.model_validate({**fields, "consent": CONSENT, "created_at": make.START})


@pytest.fixture
def other_id(db: Database) -> KeyId:
    return make.key(db)[0]


def test_an_avatar_is_read_as_it_was_written_by_its_key_alone(
    db: Database, key_id: KeyId, other_id: KeyId
) -> None:
    anna = avatar(key_id, voice="flite-slt")
    make.do(db, lambda tx: likenesses.insert(tx, anna, REQUEST))

    assert db.read(lambda tx: likenesses.get(tx, SavedAvatar, anna.id, key_id)) == anna
    assert db.read(lambda tx: likenesses.get(tx, SavedAvatar, anna.id, other_id)) is None
    found = db.read(lambda tx: likenesses.find_request(tx, SavedAvatar, key_id, "once"))
    assert found == (anna, REQUEST.fingerprint)
    assert db.read(lambda tx: likenesses.find_request(tx, SavedAvatar, other_id, "once")) is None


def test_avatars_are_listed_newest_first_and_counted_by_key(
    db: Database, key_id: KeyId, other_id: KeyId
) -> None:
    made = [avatar(key_id) for _ in range(3)]
    for each in [*made, avatar(other_id)]:
        make.do(db, lambda tx, each=each: likenesses.insert(tx, each, None))
    newest = sorted(made, key=lambda each: each.id, reverse=True)

    first = db.read(lambda tx: likenesses.page(tx, SavedAvatar, key_id, size=2))
    rest = db.read(lambda tx: likenesses.page(tx, SavedAvatar, key_id, size=2, after=first[-1].id))

    assert first + rest == newest
    assert db.read(lambda tx: likenesses.count(tx, SavedAvatar, key_id)) == 3
    assert db.read(lambda tx: likenesses.photo_bytes(tx, key_id)) == 3000

    make.do(db, lambda tx: likenesses.delete(tx, newest[0]))
    assert db.read(lambda tx: likenesses.photo_bytes(tx, key_id)) == 2000
    names = [each.id for each in made]
    assert db.read(lambda tx: likenesses.existing_ids(tx, names, kind=SavedAvatar)) == {
        each.id for each in newest[1:]
    }


def test_a_request_makes_one_avatar_of_its_key(
    db: Database, key_id: KeyId, other_id: KeyId
) -> None:
    make.do(db, lambda tx: likenesses.insert(tx, avatar(key_id), REQUEST))
    make.do(db, lambda tx: likenesses.insert(tx, avatar(other_id), REQUEST))

    with pytest.raises(sa.exc.IntegrityError):
        make.do(db, lambda tx: likenesses.insert(tx, avatar(key_id), REQUEST))


def test_a_clone_is_of_one_key(db: Database, key_id: KeyId, other_id: KeyId) -> None:
    made = [voice(key_id, "one"), voice(key_id, "two")]
    for each in made:
        make.do(db, lambda tx, each=each: likenesses.insert(tx, each, None))

    newest = sorted(made, key=lambda each: each.id, reverse=True)
    assert db.read(lambda tx: likenesses.page(tx, ClonedVoice, key_id)) == newest
    assert db.read(lambda tx: likenesses.page(tx, ClonedVoice, other_id)) == []
    assert db.read(lambda tx: likenesses.get(tx, ClonedVoice, made[0].id, other_id)) is None
    assert db.read(lambda tx: likenesses.voice_owner(tx, "one")) == key_id
    assert db.read(lambda tx: likenesses.voice_owner(tx, "three")) is None
    with pytest.raises(sa.exc.IntegrityError):
        make.do(db, lambda tx: likenesses.insert(tx, voice(other_id, "one"), None))

    make.do(db, lambda tx: likenesses.delete(tx, made[0]))
    assert db.read(likenesses.provider_ids) == {"two"}
