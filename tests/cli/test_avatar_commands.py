"""`rushes voices` and `rushes avatars` against a real service."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Rushes
from tests.journey.service import KEY, Running, running
from tests.workers.avatars import FACES

pytestmark = pytest.mark.slow

CONSENT = "Anna agreed in writing on 3 May 2026."


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("avatars"), models=["slate", "puppet"]) as found:
        yield found


@pytest.fixture
def rushes(service: Running, tmp_path: Path) -> Rushes:
    return Rushes(tmp_path, {"url": str(service.client.base_url), "api_key": KEY})


def test_voices_are_listed_as_a_table_and_as_json(rushes: Rushes) -> None:
    table, body = rushes("voices", "--language", "en"), rushes("voices", "--json")

    assert table.returncode == 0, table.stderr
    head, first = table.stdout.splitlines()[:2]
    assert head.split() == ["id", "name", "language", "provider"]
    assert first.split() == ["hibari-heart", "Heart", "en-US", "hibari"]
    assert json.loads(body.stdout)["data"][0]["id"] == "hibari-heart"


def test_an_empty_list_says_how_to_fill_it(rushes: Rushes) -> None:
    voices, avatars = rushes("voices", "--language", "tlh"), rushes("avatars")

    assert (voices.returncode, avatars.returncode) == (0, 0)
    assert "No voice of this service speaks tlh." in voices.stderr
    assert "espeak-ng" in voices.stderr
    assert "rushes avatars add" in avatars.stderr
    assert rushes("voices", "--language", "tlh", "--json").stderr == ""


def test_an_avatar_is_added_listed_spoken_with_and_deleted(rushes: Rushes) -> None:
    face = str(FACES["anna"])

    added = rushes("avatars", "add", "--name", "Anna", "--image", face, "--consent", CONSENT)
    assert added.returncode == 0, added.stderr
    avatar_id = added.stdout.strip()
    listed, body = rushes("avatars"), rushes("avatars", "--json")
    spoken = rushes(
        *("avatar", "--avatar", avatar_id, "--text", "Hello.", "--speed", "1.2"),
        *("--width", "256", "--height", "256", "-o", "hello.mp4"),
    )
    deleted = rushes("avatars", "rm", avatar_id)
    gone = rushes("avatars", "rm", avatar_id)

    assert listed.stdout.splitlines()[0].split() == ["id", "name", "voice", "age", "consent"]
    assert avatar_id in listed.stdout
    assert CONSENT in listed.stdout
    assert json.loads(body.stdout)["data"][0]["consent"]["text"] == CONSENT
    assert spoken.returncode == 0, spoken.stderr
    assert (rushes.folder / "hello.mp4").stat().st_size > 1000
    assert deleted.stdout == f"{avatar_id} is deleted\n"
    assert gone.returncode == 4


def test_an_avatar_needs_a_statement_and_a_photo(rushes: Rushes, tmp_path: Path) -> None:
    wall = tmp_path / "wall.png"
    wall.write_bytes(b"no picture")
    face = str(FACES["anna"])

    unstated = rushes("avatars", "add", "--name", "Anna", "--image", face)
    missing = rushes("avatars", "add", "--name", "A", "--image", "none.jpg", "--consent", CONSENT)
    broken = rushes("avatars", "add", "--name", "A", "--image", str(wall), "--consent", CONSENT)

    assert (unstated.returncode, "--consent" in unstated.stderr) == (2, True)
    assert (missing.returncode, "none.jpg" in missing.stderr) == (2, True)
    assert (broken.returncode, "image is not PNG, JPEG" in broken.stderr) == (2, True)
