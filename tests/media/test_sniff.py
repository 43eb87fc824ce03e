"""Types by the first bytes and sizes by the header, as Pillow finds them; garbage is no error."""

import random
from pathlib import Path
from typing import Any

import pytest

from service.media.sniff import image_size, media_type
from tests.workers.inputs.pictures import bombs, gradient, saved

PICTURES: list[tuple[str, str, dict[str, Any]]] = [
    ("PNG", "RGB", {}),
    ("PNG", "P", {}),
    ("JPEG", "RGB", {}),
    ("JPEG", "L", {"progressive": True}),
    ("JPEG", "RGB", {"comment": b"x" * 60_000, "icc_profile": b"y" * 100_000}),
    ("WEBP", "RGB", {}),
    ("WEBP", "RGB", {"lossless": True}),
    ("WEBP", "RGBA", {}),
]


def written(folder: Path, content: bytes) -> Path:
    path = folder / "file"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("format", "mode", "options"), PICTURES)
def test_a_picture_is_as_large_as_pillow_says(
    tmp_path: Path, format: str, mode: str, options: dict[str, Any]
) -> None:
    path = written(tmp_path, saved(gradient(mode, (301, 7)), format, **options))

    assert media_type(path) == f"image/{format.lower()}"
    assert image_size(path) == (301, 7)


@pytest.mark.parametrize(("turn", "size"), [(1, (301, 7)), (3, (301, 7)), (6, (7, 301))])
def test_a_jpeg_is_measured_upright(tmp_path: Path, turn: int, size: tuple[int, int]) -> None:
    exif = gradient().getexif()
    exif[0x0112] = turn

    path = written(tmp_path, saved(gradient(size=(301, 7)), "JPEG", exif=exif))

    assert image_size(path) == size


@pytest.mark.parametrize(("format", "mode", "options"), PICTURES)
def test_what_is_cut_off_or_broken_has_a_size_or_none(
    tmp_path: Path, format: str, mode: str, options: dict[str, Any]
) -> None:
    rng = random.Random(1)
    whole = saved(gradient(mode, (301, 7)), format, **options)

    for _ in range(200):
        broken = bytearray(whole[: rng.randrange(1, min(len(whole), 400))])
        broken[rng.randrange(len(broken))] = rng.randrange(256)
        size = image_size(written(tmp_path, bytes(broken)))
        assert size is None or min(size) > 0


@pytest.mark.parametrize("name", [name for name in bombs() if name.startswith("pixels")])
def test_a_bomb_is_as_large_as_it_claims(tmp_path: Path, name: str) -> None:
    size = image_size(written(tmp_path, bombs()[name]))

    assert size is not None
    assert size[0] * size[1] > 24_000_000


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (b"\0\0\0\x20ftypisom", "video/mp4"),
        (b"\0\0\0\x20ftypheic", "image/heic"),
        (b"\0\0\0\x20ftypmif1", "image/heic"),
        (b"\0\0\0\x20ftypavif", "image/avif"),
        (b"\0\0\0\x14ftypqt  ", "video/quicktime"),
        (b"\0\0\0\x08wide\0\0\0\0mdat", "video/quicktime"),
        (b"\x1aE\xdf\xa3", "video/webm"),
        (b"RIFF\0\0\0\0WAVE", "audio/wav"),
        (b"fLaC", "audio/flac"),
        (b"OggS", "audio/ogg"),
        (b"ID3\x04", "audio/mpeg"),
        (b"\xff\xfb\x90", "audio/mpeg"),
        (b"\0\0\0\x20ftypM4A \0\0\0\0", "audio/mp4"),
        (b"\xff\xf1\x50\x80", "audio/aac"),
        (b"FORM\0\0\0\0AIFFCOMM", "audio/aiff"),
        (b"FORM\0\0\0\0AIFCFVER", "audio/aiff"),
        (b"caff\0\1\0\0", "audio/x-caf"),
        (b"#!AMR\n", "audio/amr"),
        (b"#!AMR-WB\n", "audio/amr"),
        (b"0&\xb2u\x8ef\xcf\x11\xa6\xd9", "audio/x-ms-wma"),
        (b".snd\0\0\0\x20", None),
        (b"FORM\0\0\0\x008SVX", None),
        (b"RIFF\0\0\0\0AVI ", None),
        (b"GIF89a", None),
        (b"#EXTM3U", None),
        (b"", None),
    ],
)
def test_videos_and_photos_are_known_by_their_first_bytes(
    tmp_path: Path, head: bytes, found: str | None
) -> None:
    assert media_type(written(tmp_path, head)) == found
