"""Every telephone's photos, HEIC and AVIF: upright, in their colours, and bounded."""

import contextlib
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.domain.attempt import AttemptFailed, FailureKind
from service.media.sniff import image_size, media_type
from service.workers.stages.inputs.images import read_image
from service.workers.stages.inputs.media import decode_video
from tests import make
from tests.workers.inputs.photos import Tile, box, heic, nclx, tile
from tests.workers.inputs.pictures import EXCHANGED, gradient, saved

COLOURS = ["red", "lime", "blue", "white", "yellow", "black"]
SIZE = (700, 500)  # of three columns and two rows of 256


@pytest.fixture(scope="session")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> list[Tile]:
    folder = tmp_path_factory.mktemp("tiles")
    return [tile(folder, colour) for colour in COLOURS]


def written(folder: Path, content: bytes) -> Path:
    path = folder / "photo"
    path.write_bytes(content)
    return path


def corners(image: Image.Image) -> list[tuple[int, int, int]]:
    right, foot = image.width - 20, image.height - 20
    found = (image.getpixel(at) for at in ((20, 20), (right, 20), (20, foot), (right, foot)))
    return [tuple(int(value) for value in colour) for colour in found]  # type: ignore[union-attr]


def assert_near(found: list[tuple[int, int, int]], wanted: list[tuple[int, int, int]]) -> None:
    assert np.abs(np.subtract(found, wanted)).max() <= 6, found


RED, BLUE, WHITE, BLACK = (255, 0, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)


@pytest.mark.parametrize(
    ("turns", "size", "wanted"),
    [
        (0, SIZE, [RED, BLUE, WHITE, BLACK]),
        (1, SIZE[::-1], [BLUE, BLACK, RED, WHITE]),
        (2, SIZE, [BLACK, WHITE, BLUE, RED]),
        (3, SIZE[::-1], [WHITE, RED, BLACK, BLUE]),
    ],
)
def test_a_photo_of_tiles_is_put_together_and_stands_upright(
    tmp_path: Path,
    tiles: list[Tile],
    turns: int,
    size: tuple[int, int],
    wanted: list[tuple[int, int, int]],
) -> None:
    path = written(tmp_path, heic(tiles, 3, SIZE, quarter_turns=turns))

    image = read_image(path)

    assert (image.mode, image.size) == ("RGB", size)
    assert_near(corners(image), wanted)
    assert (media_type(path), image_size(path)) == ("image/heic", size)


def test_a_photo_is_brought_to_srgb(tmp_path: Path, tiles: list[Tile]) -> None:
    """Lime of Display P3 is greener than sRGB can be; half of it shows the difference."""
    wide = read_image(written(tmp_path, heic(tiles, 3, SIZE, colours=nclx(12, 13))))
    plain = read_image(written(tmp_path, heic(tiles, 3, SIZE, colours=nclx(1, 13))))
    bright = read_image(written(tmp_path, heic(tiles, 3, SIZE, colours=nclx(9, 16))))

    assert_near(corners(plain), [RED, BLUE, WHITE, BLACK])
    assert_near(corners(wide), [RED, BLUE, WHITE, BLACK])
    assert corners(bright)[3] == pytest.approx(BLACK, abs=3)


def avif(image: Image.Image, **options: object) -> bytes:
    return saved(image, "AVIF", quality=95, **options)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_an_avif_stands_upright(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    turn = {3: "ROTATE_180", 6: "ROTATE_270", 8: "ROTATE_90"}.get(orientation)
    wanted = gradient(size=(96, 64))
    wanted = wanted.transpose(Image.Transpose[turn]) if turn else wanted

    path = written(tmp_path, avif(gradient(size=(96, 64)), exif=exif.tobytes()))
    seen = read_image(path)

    assert seen.size == wanted.size == image_size(path)
    assert np.abs(np.asarray(seen, float) - np.asarray(wanted, float)).mean() < 4
    assert media_type(path) == "image/avif"


def test_a_transparent_avif_lies_over_white(tmp_path: Path) -> None:
    image = Image.new("RGBA", (64, 64), (10, 20, 200, 255))
    image.paste((0, 255, 0, 0), (0, 0, 32, 64))

    seen = read_image(written(tmp_path, avif(image)))

    assert_near([seen.getpixel((8, 32)), seen.getpixel((56, 32))], [WHITE, (10, 20, 200)])  # type: ignore[list-item]


def test_the_profile_of_an_avif_is_followed(tmp_path: Path) -> None:
    red = Image.new("RGB", (64, 64), (255, 0, 0))

    seen = read_image(written(tmp_path, avif(red, icc_profile=EXCHANGED)))

    assert_near([seen.getpixel((32, 32))], [(0, 255, 0)])  # type: ignore[list-item]


def refusal(path: Path, **bounds: int) -> AttemptFailed:
    with pytest.raises(AttemptFailed) as caught:
        read_image(path, **bounds)
    assert caught.value.kind is FailureKind.USER
    return caught.value


def test_the_bound_on_pixels_is_exact(tmp_path: Path, tiles: list[Tile]) -> None:
    path = written(tmp_path, heic(tiles, 3, SIZE))

    assert read_image(path, max_pixels=350_000).size == SIZE
    assert refusal(path, max_pixels=349_999).code == "image_too_large"


def test_a_size_that_lies_is_refused(tmp_path: Path, tiles: list[Tile]) -> None:
    honest = heic(tiles, 3, SIZE)
    lying = honest.replace(
        b"ispe" + bytes(4) + (700).to_bytes(4, "big"), b"ispe" + bytes(7) + b"\x40"
    )

    refused = refusal(written(tmp_path, lying))
    assert refused.code == "image_unreadable"
    assert "its size differs from its header" in refused.message


def test_an_index_of_many_entries_is_not_read(tmp_path: Path) -> None:
    entries = box(b"iref", bytes(4), box(b"dimg", bytes(4)) * 100_000)
    path = written(tmp_path, box(b"ftyp", b"heic", bytes(4)) + box(b"meta", bytes(4), entries))

    assert "index has 1,200,0" in refusal(path).message


def test_another_codec_inside_is_refused_by_name(tmp_path: Path, tiles: list[Tile]) -> None:
    refused = refusal(written(tmp_path, heic(tiles, 3, SIZE, codec=b"jpeg")))

    assert refused.code == "image_unreadable"
    assert "neither HEVC nor AV1; convert it to JPEG" in refused.message


def test_what_is_cut_off_or_broken_is_read_or_refused(tmp_path: Path, tiles: list[Tile]) -> None:
    rng = random.Random(1)
    whole = heic(tiles[:1], 1, (200, 200))

    for _ in range(25):
        broken = bytearray(whole[: rng.randrange(20, len(whole) + 1)])
        for _ in range(3):
            broken[rng.randrange(12, len(broken))] = rng.randrange(256)
        path = written(tmp_path, bytes(broken))
        size = image_size(path)
        assert size is None or min(size) > 0
        with contextlib.suppress(AttemptFailed):
            read_image(path)


@pytest.mark.parametrize("brand", [b"heic", b"mif1", b"avif"])
def test_a_photo_is_never_a_video(tmp_path: Path, tiles: list[Tile], brand: bytes) -> None:
    path = written(tmp_path, heic(tiles, 3, SIZE).replace(b"ftypheic", b"ftyp" + brand))

    with pytest.raises(AttemptFailed) as caught:
        decode_video(path, make.request(), max_bytes=1_000_000)

    assert caught.value.code == "media_format"
    assert (media_type(path) or "").startswith("image/")
