"""PNGs that name their colours by chunks come out as those colours look in sRGB."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from service.media.named_colours import Colours, colours_of
from service.workers.stages.inputs.images import read_image
from service.workers.stages.inputs.srgb import to_srgb
from tests.workers.inputs.pictures import EXCHANGED, PNG, chunk, header

WANTED = (50, 200, 50)
P3 = (0.680, 0.320, 0.265, 0.690, 0.150, 0.060)
LINEAR = chunk(b"gAMA", struct.pack(">I", 100_000))
SRGB_GAMMA = chunk(b"gAMA", struct.pack(">I", 45_455))
SRGB_CHUNK = chunk(b"sRGB", b"\0")


def chrm(red_to_blue: tuple[float, ...]) -> bytes:
    values = (0.3127, 0.3290, *red_to_blue)
    return chunk(b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in values)))


def cicp(primaries: int, transfer: int) -> bytes:
    return chunk(b"cICP", bytes([primaries, transfer, 0, 1]))


def light(levels: tuple[int, ...]) -> list[float]:
    """Of sRGB's levels."""
    values = [level / 255 for level in levels]
    return [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]


def image(samples: list[float], bits: int, *chunks: bytes) -> bytes:
    """Four pixels of the same red, green and blue (and alpha), each from 0 to 1."""
    form = f">{len(samples)}{'H' if bits == 16 else 'B'}"
    pixel = struct.pack(form, *(round(value * (2**bits - 1)) for value in samples))
    colours = 2 if len(samples) == 3 else 6
    body = zlib.compress((b"\0" + pixel * 2) * 2)
    parts = [header(2, 2, bits, colours), *chunks, chunk(b"IDAT", body), chunk(b"IEND", b"")]
    return PNG + b"".join(parts)


def seen(tmp_path: Path, content: bytes) -> tuple[int, ...]:
    path = tmp_path / "image"
    path.write_bytes(content)
    ((count, colour),) = read_image(path).getcolors() or []
    assert count == 4
    return tuple(colour)  # type: ignore[arg-type]


def test_linear_samples_of_16_bits_come_out_as_srgb(tmp_path: Path) -> None:
    assert seen(tmp_path, image(light(WANTED), 16, LINEAR)) == WANTED


@pytest.mark.parametrize("dark", [(1, 2, 3), (5, 7, 9), (12, 11, 10)])
def test_of_16_linear_bits_all_count(tmp_path: Path, dark: tuple[int, ...]) -> None:
    """In eight bits of light nothing lies between the levels 0 and 13."""
    assert seen(tmp_path, image(light(dark), 16, LINEAR)) == dark
    assert seen(tmp_path, image([*light(dark), 1.0], 16, LINEAR)) == dark


def test_what_is_transparent_and_linear_lies_over_white(tmp_path: Path) -> None:
    assert seen(tmp_path, image([*light(WANTED), 0.0], 8, LINEAR)) == (255, 255, 255)


@pytest.mark.parametrize(
    "chunks",
    [
        [chunk(b"gAMA", struct.pack(">I", 45_455))],  # sRGB's own
        [chunk(b"gAMA", struct.pack(">I", 0))],
        [chunk(b"gAMA", b"\1")],
        [chunk(b"cHRM", bytes(32))],  # no colour space
        [chunk(b"cHRM", struct.pack(">8I", *[50_000] * 8))],
        [SRGB_CHUNK, LINEAR],
        [LINEAR, SRGB_CHUNK],
        [cicp(1, 13), LINEAR],
        [cicp(1, 1)],
        [cicp(2, 2)],
        [cicp(99, 99)],
    ],
)
def test_numbers_that_are_srgb_or_have_no_meaning_stay(tmp_path: Path, chunks: list[bytes]) -> None:
    plain = [value / 255 for value in WANTED]

    assert seen(tmp_path, image(plain, 8, *chunks)) == WANTED


def test_primaries_are_brought_to_those_of_srgb(tmp_path: Path) -> None:
    """(204, 127, 77) in Display P3 is this."""
    samples = [204 / 255, 127 / 255, 77 / 255]
    wanted = (217, 125, 67)

    by_number = seen(tmp_path, image(samples, 8, cicp(12, 13)))
    by_chunk = seen(tmp_path, image(samples, 8, SRGB_GAMMA, chrm(P3)))

    assert np.abs(np.subtract(by_number, wanted)).max() <= 3
    assert np.abs(np.subtract(by_chunk, wanted)).max() <= 3


def test_cicp_counts_more_than_a_profile(tmp_path: Path) -> None:
    profile = chunk(b"iCCP", b"x\0\0" + zlib.compress(EXCHANGED))

    assert seen(tmp_path, image([1.0, 0.0, 0.0], 8, profile)) == (0, 255, 0)
    assert seen(tmp_path, image([1.0, 0.0, 0.0], 8, profile, cicp(1, 13))) == (255, 0, 0)


def test_diffuse_white_of_hdr_is_nearly_white_and_highlights_are_above_it(tmp_path: Path) -> None:
    white, bright = 0.5807, 0.7518  # 203 and 1,000 cd/m² in PQ

    diffuse = seen(tmp_path, image([white] * 3, 16, cicp(9, 16)))
    highlight = seen(tmp_path, image([bright] * 3, 16, cicp(9, 16)))

    assert 241 <= diffuse[0] < highlight[0] <= 255
    assert seen(tmp_path, image([0.75] * 3, 16, cicp(9, 18)))[0] == pytest.approx(diffuse[0], abs=2)


def test_grey_of_hdr_is_the_grey_of_srgb() -> None:
    """A quarter of diffuse white, in PQ."""
    level = np.full((1, 1, 3), round(0.4417 * 65_535), np.uint16)
    colours = colours_of(9, 16)
    assert colours is not None

    (grey,) = set(to_srgb(level, colours).ravel().tolist())

    assert grey == pytest.approx(137, abs=2)


def test_many_rows_are_as_one() -> None:
    pixels = np.arange(200 * 3 * 3, dtype=np.uint16).reshape(200, 3, 3) * 30
    colours = Colours(gamma=1.0)

    whole = to_srgb(pixels, colours)

    assert all(
        np.array_equal(whole[n : n + 1], to_srgb(pixels[n : n + 1], colours)) for n in (0, 64, 199)
    )
