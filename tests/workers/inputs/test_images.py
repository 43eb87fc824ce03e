import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from service.domain.attempt import AttemptFailed, FailureKind
from service.workers.stages.inputs.images import read_image
from tests.workers.inputs.pictures import (
    EXCHANGED,
    PNG,
    SRGB,
    bombs,
    chunk,
    gradient,
    header,
    png,
    resized_jpeg,
    riff,
    saved,
    segment,
)


def read(tmp_path: Path, content: bytes, **bounds: int) -> Image.Image:
    path = tmp_path / "image"
    path.write_bytes(content)
    return read_image(path, **bounds)


def refusal(tmp_path: Path, content: bytes, **bounds: int) -> str:
    with pytest.raises(AttemptFailed) as caught:
        read(tmp_path, content, **bounds)
    assert caught.value.kind is FailureKind.USER
    return caught.value.code


def difference(one: Image.Image, other: Image.Image) -> float:
    """The mean, of 255."""
    assert one.size == other.size
    return float(np.abs(np.asarray(one, float) - np.asarray(other, float)).mean())


# What comes out


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_a_png_comes_out_as_its_colours_say(tmp_path: Path, mode: str) -> None:
    image = gradient().convert(mode)

    seen = read(tmp_path, saved(image, "PNG"))

    assert seen.mode == "RGB"
    assert difference(seen, image.convert("RGB")) == 0


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_jpeg_comes_out_as_its_colours_say(
    tmp_path: Path, mode: str, options: dict[str, int]
) -> None:
    seen = read(tmp_path, saved(gradient(mode), "JPEG", quality=95, **options))

    assert seen.mode == "RGB"
    assert difference(seen, gradient(mode).convert("RGB")) < 4


@pytest.mark.parametrize("lossless", [True, False])
def test_a_webp_comes_out_as_its_colours_say(tmp_path: Path, lossless: bool) -> None:
    seen = read(tmp_path, saved(gradient(), "WEBP", lossless=lossless, quality=95))

    assert seen.mode == "RGB"
    assert difference(seen, gradient()) < (0.01 if lossless else 4)


@pytest.mark.parametrize(
    ("colours", "pixel"),
    [
        (0, b"\x80\xff"),
        (2, b"\x80\xff" * 3),
        (4, b"\x80\xff\xff\xff"),
        (6, b"\x80\xff" * 3 + b"\xff\xff"),
    ],
)
@pytest.mark.parametrize("key", [b"", b"\x80\xff", b"\x00\x80"])
def test_of_16_bits_the_upper_8_count(
    tmp_path: Path, colours: int, pixel: bytes, key: bytes
) -> None:
    transparent = chunk(b"tRNS", key * (3 if colours == 2 else 1)) if key else b""
    body = zlib.compress((b"\0" + pixel * 2) * 2)
    content = [header(2, 2, 16, colours), transparent, chunk(b"IDAT", body), chunk(b"IEND", b"")]

    seen = read(tmp_path, PNG + b"".join(content))

    assert seen.getcolors() == [(4, (0x80, 0x80, 0x80))]


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_transparent_parts_lie_over_white(tmp_path: Path, format: str) -> None:
    image = Image.new("RGBA", (3, 1), (10, 20, 30, 255))
    image.putpixel((1, 0), (10, 20, 30, 0))
    image.putpixel((2, 0), (0, 0, 0, 128))

    seen = read(tmp_path, saved(image, format, lossless=True, exact=True))

    pixels = [seen.getpixel((place, 0)) for place in range(3)]
    assert pixels == [(10, 20, 30), (255, 255, 255), (127, 127, 127)]


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB"])
def test_every_way_to_be_transparent_lies_over_white(tmp_path: Path, mode: str) -> None:
    clear = {"L": 9, "LA": (9, 0), "P": 9, "RGB": (9, 9, 9)}[mode]
    image = Image.new(mode, (4, 4), clear)
    if mode == "P":
        image.putpalette(bytes(range(256)) * 3)

    content = saved(image, "PNG", transparency=None if mode == "LA" else clear)

    assert read(tmp_path, content).getcolors() == [(16, (255, 255, 255))]


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", range(10))
def test_an_image_stands_upright_by_its_exif(tmp_path: Path, format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = saved(gradient(), format, exif=exif.tobytes(), quality=95)

    seen = read(tmp_path, content)

    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    assert difference(seen, upright.convert("RGB")) == 0


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["HHIHxx", "HHII"], ids=["short", "long"])
def test_an_orientation_of_either_type_turns_an_image(
    tmp_path: Path, order: str, kind: str
) -> None:
    mark = b"II*\0" if order == "<" else b"MM\0*"
    number = {"HHIHxx": 3, "HHII": 4}[kind]
    entry = struct.pack(f"{order}{kind}", 0x0112, number, 1, 6)
    exif = mark + struct.pack(f"{order}IH", 8, 1) + entry + bytes(4)

    seen = read(tmp_path, saved(gradient(), "PNG", exif=exif))

    assert difference(seen, gradient().transpose(Image.Transpose.ROTATE_270)) == 0


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("cut", range(0, 40, 3))
def test_broken_exif_turns_nothing(tmp_path: Path, order: str, cut: int) -> None:
    mark = b"II*\0" if order == "<" else b"MM\0*"
    entries = struct.pack(f"{order}HHHII", 65_535, 0x0112, 2, 1, 6)  # a text
    exif = (mark + struct.pack(f"{order}I", 8) + entries)[:cut]

    seen = read(tmp_path, saved(gradient(), "JPEG", exif=b"Exif\0\0" + exif))

    assert seen.size == gradient().size


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_an_embedded_profile_is_followed(tmp_path: Path, format: str) -> None:
    red = Image.new("RGB", (16, 16), (255, 0, 0))
    options = {"lossless": True} if format == "WEBP" else {}

    seen = read(tmp_path, saved(red, format, icc_profile=EXCHANGED, **options))

    assert difference(seen, Image.new("RGB", (16, 16), (0, 255, 0))) < 2


def test_a_profile_does_not_touch_what_is_transparent(tmp_path: Path) -> None:
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    image.putpixel((1, 0), (255, 0, 0, 0))

    seen = read(tmp_path, saved(image, "PNG", icc_profile=EXCHANGED))

    assert [seen.getpixel((place, 0)) for place in range(2)] == [(0, 255, 0), (255, 255, 255)]


@pytest.mark.parametrize(
    "profile",
    [b"x", b"no profile at all" * 100, EXCHANGED[:200], EXCHANGED.replace(b"RGB ", b"CMYK")],
)
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_a_broken_profile_is_passed_over(tmp_path: Path, format: str, profile: bytes) -> None:
    seen = read(tmp_path, saved(gradient(), format, icc_profile=profile, quality=95))

    assert difference(seen, gradient()) < 4


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_a_huge_profile_is_passed_over(tmp_path: Path, format: str) -> None:
    red = Image.new("RGB", (16, 16), (255, 0, 0))
    options = {"lossless": True} if format == "WEBP" else {}

    seen = read(tmp_path, saved(red, format, icc_profile=EXCHANGED + bytes(4_000_000), **options))

    assert difference(seen, red) < 2


def test_a_profile_of_another_colour_space_is_passed_over(tmp_path: Path) -> None:
    seen = read(tmp_path, saved(gradient("CMYK"), "JPEG", icc_profile=SRGB, quality=95))

    assert difference(seen, gradient("CMYK").convert("RGB")) < 4


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_no_metadata_comes_along(tmp_path: Path, format: str) -> None:
    exif = Image.Exif()
    exif[0x010E] = "where I live"
    content = saved(
        gradient(), format, exif=exif.tobytes(), icc_profile=SRGB, dpi=(72, 72), xmp=b"<x/>"
    )

    seen = read(tmp_path, content)

    assert seen.info == {}
    assert len(seen.getexif()) == 0
    assert b"where I live" not in saved(seen, format)


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_of_an_animation_the_first_frame_is_taken(tmp_path: Path, format: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]

    content = saved(frames[0], format, save_all=True, append_images=frames[1:], lossless=True)

    assert read(tmp_path, content).getcolors() == [(64, (255, 0, 0))]


def test_of_several_images_in_one_jpeg_the_first_is_taken(tmp_path: Path) -> None:
    other = gradient().transpose(Image.Transpose.ROTATE_180)

    content = saved(gradient(), "MPO", save_all=True, append_images=[other], quality=95)

    assert difference(read(tmp_path, content), gradient()) < 4


def test_a_jpeg_without_ids_is_rgb_when_its_adobe_segment_says_so(tmp_path: Path) -> None:
    content = saved(gradient(), "JPEG", quality=95, keep_rgb=True)
    content = content.replace(b"R\x11\0G\x11\0B\x11\0", b"\1\x11\0\2\x11\0\3\x11\0")
    content = content.replace(b"\3R\0G\0B\0", b"\3\1\0\2\0\3\0")

    assert difference(read(tmp_path, content), gradient()) < 4


@pytest.mark.parametrize(
    "spoiled",
    [
        segment(0xE2, b"MPF\0MM\0*"),
        segment(0xED, b"Photoshop 3.0\x008BIM\xff"),
        segment(0xE1, b"Exif\0\0MM"),
        segment(0xE0, b"JFXX\0\x10"),
    ],
)
def test_what_other_programs_keep_in_a_jpeg_does_not_matter(tmp_path: Path, spoiled: bytes) -> None:
    content = saved(gradient(), "JPEG", quality=95)

    assert difference(read(tmp_path, content[:2] + spoiled + content[2:]), gradient()) < 4


def test_a_webp_that_begins_otherwise_is_refused(tmp_path: Path) -> None:
    content = riff((b"EXIF", b"xx"), (b"VP8L", saved(gradient(), "WEBP", lossless=True)[20:]))

    with pytest.raises(AttemptFailed, match="first chunk is not an image") as caught:
        read(tmp_path, content)
    assert caught.value.code == "image_unreadable"


def test_the_name_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "-x|touch pwned.gif"
    path.write_bytes(saved(gradient(), "PNG"))

    assert difference(read_image(path), gradient()) == 0


# What is refused


@pytest.mark.parametrize("format", ["GIF", "BMP", "TIFF", "JPEG2000", "ICO", "PPM", "EPS"])
def test_other_formats_are_refused(tmp_path: Path, format: str) -> None:
    assert refusal(tmp_path, saved(gradient(), format)) == "image_format"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x89",
        b"hello",
        b'<svg xmlns="http://www.w3.org/2000/svg"><image href="/etc/passwd"/></svg>',
        b"%!PS-Adobe-3.0 EPSF-3.0\n(/etc/passwd) (r) file",
        b"RIFF\x04\0\0\0WAVE",
        b"GIF89a" + PNG,
        b" " + PNG,
    ],
)
def test_what_is_no_image_is_refused(tmp_path: Path, content: bytes) -> None:
    assert refusal(tmp_path, content) == "image_format"


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"lossless": True}])
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_an_image_that_was_cut_off_is_refused(
    tmp_path: Path, format: str, options: dict[str, bool]
) -> None:
    content = saved(gradient(), format, **options)

    for keep in [*range(12, len(content), 37), len(content) - 2, len(content) - 1]:
        with pytest.raises(AttemptFailed, match="truncated") as caught:
            read(tmp_path, content[:keep])
        assert caught.value.code == "image_unreadable", keep


def test_pixels_that_are_missing_are_not_made_up(tmp_path: Path) -> None:
    few = zlib.compress(bytes(10))
    content = PNG + header(8, 8) + chunk(b"IDAT", few) + chunk(b"IEND", b"")

    assert refusal(tmp_path, content) == "image_unreadable"


def test_the_bounds_are_exact(tmp_path: Path) -> None:
    content = saved(gradient(size=(10, 20)), "PNG")

    assert read(tmp_path, content, max_pixels=200, max_bytes=len(content)).size == (10, 20)
    assert refusal(tmp_path, content, max_pixels=199) == "image_too_large"
    assert refusal(tmp_path, content, max_bytes=len(content) - 1) == "image_too_large"


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "image"
    with path.open("wb") as file:
        file.truncate(1 << 40)

    with pytest.raises(
        AttemptFailed, match=r"1,099,511,627,776 bytes; the limit is 32,000,000"
    ) as no:
        read_image(path)

    assert no.value.code == "image_too_large"


@pytest.mark.parametrize(
    "content",
    [
        png(50_000, 50_000),
        resized_jpeg(65_500, 65_500),
        riff((b"VP8X", bytes(4) + b"\xff" * 6)),
        riff((b"VP8L", b"\x2f\xff\xff\xff\xff")),
        riff((b"VP8 ", b"\0\0\0\x9d\x01\x2a\xff\xff\xff\xff")),
    ],
)
def test_pixels_are_judged_by_the_header_alone(tmp_path: Path, content: bytes) -> None:
    assert refusal(tmp_path, content) == "image_too_large"


def test_a_second_header_is_refused(tmp_path: Path) -> None:
    jpeg = saved(gradient(), "JPEG")
    frame = jpeg.index(b"\xff\xc0")
    second = jpeg[frame : frame + 5] + b"\xff\xdc\xff\xdc" + jpeg[frame + 9 : frame + 19]

    two = png(9, 9).replace(header(9, 9), header(8, 8) + header(9, 9))
    assert refusal(tmp_path, two) == "image_unreadable"
    assert refusal(tmp_path, jpeg[:frame] + second + jpeg[frame:]) == "image_unreadable"
    assert refusal(tmp_path, jpeg[: frame + 19] + second + jpeg[frame + 19 :]) == "image_unreadable"


def test_more_scans_than_any_encoder_writes_are_refused(tmp_path: Path) -> None:
    content = saved(gradient(), "JPEG", progressive=True)
    last = content[content.rindex(b"\xff\xda") : -2]

    assert read(tmp_path, content[:-2] + last * 10 + content[-2:]).size == (48, 32)
    assert refusal(tmp_path, content[:-2] + last * 100 + content[-2:]) == "image_unreadable"


MEASURE = """
import re, sys
from pathlib import Path
from service.domain.attempt import AttemptFailed
from service.workers.stages.inputs.images import read_image

def peak():  # not getrusage: there a process starts with the peak of the one that forked it
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024

for path in map(Path, sys.argv[1:]):
    before = peak()
    try:
        read_image(path)
        code = "ok"
    except AttemptFailed as error:
        code = error.code
    print(path.name, code, peak() - before)
"""


@pytest.mark.slow
def test_no_bomb_costs_memory(tmp_path: Path) -> None:
    warm_up = tmp_path / "plain.png"
    warm_up.write_bytes(saved(gradient(), "PNG", icc_profile=SRGB))
    paths = []
    for name, content in bombs().items():
        paths.append(tmp_path / name)
        paths[-1].write_bytes(content)

    command = [sys.executable, "-c", MEASURE, str(warm_up), *map(str, paths)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout

    rows = [line.split() for line in said.splitlines()]
    assert {name: code for name, code, _ in rows[1:]} == {
        "pixels.png": "image_too_large",
        "pixels.jpg": "image_too_large",
        "pixels.webp": "image_too_large",
        "second_header.png": "image_unreadable",
        "ztxt.png": "ok",
        "itxt.png": "ok",
        "iccp.png": "ok",
        "parts.png": "image_unreadable",
        "parts.jpg": "image_unreadable",
        "parts.webp": "image_unreadable",
    }
    assert sum(int(grown) for _, _, grown in rows[1:]) < 50, said


# Whatever the bytes

SEEDS = [
    saved(gradient(), "PNG", icc_profile=SRGB),
    saved(gradient("P"), "PNG", transparency=3),
    saved(gradient("LA"), "PNG"),
    saved(gradient("L").convert("I;16"), "PNG"),
    saved(gradient(), "JPEG", icc_profile=EXCHANGED),
    saved(gradient("CMYK"), "JPEG", progressive=True),
    saved(gradient("RGBA"), "WEBP", icc_profile=SRGB),
    saved(gradient("RGBA"), "WEBP", lossless=True),
    saved(gradient(), "WEBP", save_all=True, append_images=[gradient().rotate(90)]),
]
CHANGES = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 3), st.binary(max_size=8)), min_size=1, max_size=6
)


def changed(content: bytes, changes: list[tuple[float, int, bytes]]) -> bytes:
    """With bytes put in, written over, or taken out."""
    for where, taken, put in changes:
        place = int(where * len(content))
        content = content[:place] + put + content[place + taken * len(put) :]
    return content


@given(seed=st.sampled_from(SEEDS), changes=CHANGES)
@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_whatever_the_bytes_there_is_an_image_or_a_reason(
    tmp_path: Path, seed: bytes, changes: list[tuple[float, int, bytes]]
) -> None:
    path = tmp_path / "image"
    path.write_bytes(changed(seed, changes))

    assert outcome(path) in {"ok", "image_too_large", "image_format", "image_unreadable"}


def outcome(path: Path) -> str:
    try:
        assert read_image(path, max_pixels=1_000_000).mode == "RGB"
    except AttemptFailed as refused:
        return refused.code if refused.kind is FailureKind.USER else refused.kind
    return "ok"
