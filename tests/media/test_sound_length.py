"""The length of sound by its header, as ffmpeg wrote it; garbage is no error."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from service.media.sound_length import sound_seconds
from tests.workers.inputs import films
from tests.workers.inputs.films import with_numbers

KNOWN = ("sound.wav", "telephone.wav", "sound.mp3", "sound.m4a", "sound.flac", "sound.ogg")
KNOWN += ("sound.opus", "film.mp4", "film.mov", "surround.m4a")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("sounds")

    def made(name: str) -> Path:
        path = folder / name
        return path if path.exists() else films.make(name, folder)

    return made


def written(folder: Path, content: bytes) -> Path:
    path = folder / "file"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", KNOWN)
def test_a_header_tells_the_length_to_a_tenth(film: Callable[[str], Path], name: str) -> None:
    assert sound_seconds(film(name)) == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("name", ["silent.mp4", "film.webm", "sound.aac", "sound.amr", "sound.wma"])
def test_what_a_header_does_not_tell_is_not_known(film: Callable[[str], Path], name: str) -> None:
    assert sound_seconds(film(name)) is None


def test_a_wav_from_a_pipe_is_as_long_as_its_bytes(
    film: Callable[[str], Path], tmp_path: Path
) -> None:
    content = bytearray(film("sound.wav").read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = b"\xff\xff\xff\xff"

    assert sound_seconds(written(tmp_path, bytes(content))) == pytest.approx(2, abs=0.01)


def test_the_claim_of_a_header_is_what_is_told(film: Callable[[str], Path], tmp_path: Path) -> None:
    two_hours = with_numbers(film("sound.m4a").read_bytes(), b"mdhd", 12, 7200 * 44_100)

    assert sound_seconds(written(tmp_path, two_hours)) == pytest.approx(7200)


@pytest.mark.parametrize("name", KNOWN)
def test_what_is_cut_off_or_broken_has_a_length_or_none(
    film: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    rng = random.Random(1)
    whole = film(name).read_bytes()

    for _ in range(150):
        broken = bytearray(whole[: rng.randrange(1, len(whole))])
        for _ in range(rng.randrange(1, 8)):
            broken[rng.randrange(min(len(broken), 400))] = rng.randrange(256)
        seconds = sound_seconds(written(tmp_path, bytes(broken)))
        assert seconds is None or seconds > 0
