"""Videos of other colours than BT.709 come out in those that a screen would have shown."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest

from service.domain.attempt import AttemptFailed
from service.workers.stages.inputs import media
from service.workers.stages.inputs.media import decode_video
from tests import make

Make = Callable[..., Path]
# Four flat colours: red, a green, a grey and white.
COLOURS = [(230, 4, 10), (40, 160, 60), (128, 128, 128), (250, 250, 250)]
SOURCE = " ".join(
    f"-f lavfi -i color=c=0x{red:02x}{green:02x}{blue:02x}:s=64x{{rows}}:r=12:d=1"
    for red, green, blue in COLOURS
)
JOINED = "[0][1][2][3]hstack=4,format=gbrp"
LOSSLESS = "-c:v libx265 -x265-params lossless=1:log-level=none"
TAGS = "-color_primaries {} -color_trc {} -colorspace {}"


@pytest.fixture
def made(tmp_path: Path) -> Make:
    def make_video(name: str, filters: str, options: str, rows: int = 64) -> Path:
        path = tmp_path / name
        command = f"-v error -y {SOURCE.format(rows=rows)} -filter_complex {filters} {options}"
        ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
        subprocess.run([ffmpeg, *command.split(), str(path)], check=True, stdin=subprocess.DEVNULL)
        return path

    return make_video


def decode(path: Path, **changes: Any) -> Any:
    values = {"width": 256, "height": 64, "num_frames": 6, "fps": 12, "fit": "crop", **changes}
    return decode_video(path, make.request(**values), max_bytes=10_000_000)


def seen(path: Path) -> list[tuple[int, ...]]:
    """The middle of each of the four."""
    frame = decode(path)[3]
    return [tuple(int(value) for value in frame[32, 32 + 64 * n]) for n in range(4)]


def assert_near(found: list[tuple[int, ...]], wanted: list[tuple[int, ...]], levels: int) -> None:
    assert np.abs(np.subtract(found, wanted)).max() <= levels, found


@pytest.mark.parametrize(
    ("primaries", "transfer", "matrix", "levels"),
    [
        ("bt2020", "arib-std-b67", "bt2020nc", 14),  # HLG
        ("bt2020", "smpte2084", "bt2020nc", 14),  # PQ
        ("bt2020", "bt709", "bt2020nc", 3),
        ("smpte432", "bt709", "bt709", 3),  # Display P3
        ("bt709", "linear", "bt709", 3),
        ("bt470bg", "bt709", "bt470bg", 3),  # PAL
        ("bt709", "bt470bg", "bt709", 3),  # a gamma of 2.8
    ],
)
def test_colours_come_out_as_those_of_bt709(
    made: Make, primaries: str, transfer: str, matrix: str, levels: int
) -> None:
    light = "setparams=colorspace=gbr:color_primaries=bt709:color_trc=bt709:range=pc,"
    light += "zscale=t=linear:npl=203,format=gbrpf32le,"
    there = f"zscale=p={primaries}:t={transfer}:m={matrix}:r=tv:npl=203,format=yuv444p12le"

    path = made(
        "a.mov",
        f"{JOINED},{light}{there}",
        f"{LOSSLESS} {TAGS.format(primaries, transfer, matrix)}",
    )

    assert_near(seen(path), COLOURS, levels)


def test_what_is_brighter_than_white_stays_brighter(made: Make) -> None:
    """Four times diffuse white is a highlight: above white's level, and not cut off before 1,000
    cd/m²."""
    light = "setparams=colorspace=gbr:color_primaries=bt709:color_trc=bt709:range=pc,"
    light += "zscale=t=linear:npl=800,format=gbrpf32le,"
    there = "zscale=p=bt2020:t=smpte2084:m=bt2020nc:r=tv:npl=800,format=yuv444p12le"
    path = made(
        "a.mov",
        f"{JOINED},{light}{there}",
        f"{LOSSLESS} {TAGS.format('bt2020', 'smpte2084', 'bt2020nc')}",
    )

    grey, white = seen(path)[2:]

    assert max(grey) < min(white) < 256
    assert min(grey) > 200


@pytest.mark.parametrize(
    ("rows", "matrix"), [(576, "smpte170m"), (718, "smpte170m"), (720, "bt709")]
)
def test_an_untagged_video_is_read_by_its_rows(made: Make, rows: int, matrix: str) -> None:
    path = made(
        "a.mp4",
        f"{JOINED},scale=out_color_matrix={matrix},format=yuv444p,"
        "setparams=colorspace=unknown:color_primaries=unknown:color_trc=unknown",
        "-c:v libx264 -qp 0",
        rows,
    )

    assert_near(seen(path), COLOURS, 4)


def test_a_tag_counts_more_than_the_rows(made: Make) -> None:
    path = made(
        "a.mp4",
        f"{JOINED},scale=out_color_matrix=bt709,format=yuv444p,setparams=colorspace=bt709",
        "-c:v libx264 -qp 0",
    )

    assert_near(seen(path), COLOURS, 4)


def test_levels_of_a_camera_that_uses_all_are_not_stretched(made: Make) -> None:
    path = made(
        "a.mp4",
        f"{JOINED},scale=out_color_matrix=bt709:out_range=pc,format=yuvj444p,"
        "setparams=colorspace=bt709:range=pc",
        "-c:v libx264 -qp 0",
    )

    assert_near(seen(path), COLOURS, 4)


CLEAR = "-f lavfi -i color=c=0x00ff00:s=64x64:r=12:d=1"
HALF_CLEAR = "format=rgba,geq=r=0:g=255*lt(X\\,32):b=255*gte(X\\,32):a=255*gte(X\\,32)"
CODECS = {
    "a.mov": "-c:v prores_ks -profile:v 4444 -pix_fmt yuva444p10le -alpha_bits 16",
    "a.webm": "-c:v libvpx-vp9 -pix_fmt yuva420p -lossless 1",
    "b.webm": "-c:v libvpx -pix_fmt yuva420p -auto-alt-ref 0 -crf 4 -b:v 9M",
    "c.mov": "-c:v libx265 -pix_fmt yuva420p -x265-params alpha=1:crf=4:log-level=none",
}


@pytest.mark.parametrize("name", CODECS)
def test_a_transparent_video_lies_over_white(tmp_path: Path, name: str) -> None:
    """Green under alpha 0 on the left, opaque blue on the right."""
    path = tmp_path / name
    command = f"-v error -y {CLEAR} -vf {HALF_CLEAR} {CODECS[name]}".split()
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), *command, str(path)], check=True)

    frame = decode(path, width=48, height=48)[3].astype(int)

    assert (frame[:, :20] >= 247).all()
    assert_near([tuple(frame[24, 40])], [(0, 0, 255)], 12)
    # On the edge it is white over blue, with none of the green; 4:2:0 has mixed them already.
    if "444" in CODECS[name]:
        assert (frame[..., 1] <= frame[..., 0] + 16).all()


def test_a_transparent_hdr_video_lies_over_white(tmp_path: Path) -> None:
    path = tmp_path / "a.mov"
    there = "setparams=colorspace=bt2020nc:color_primaries=bt2020:color_trc=arib-std-b67:range=tv"
    command = f"-v error -y {CLEAR} -vf {HALF_CLEAR},format=yuva444p10le,{there} "
    command += f"{CODECS['a.mov']} {TAGS.format('bt2020', 'arib-std-b67', 'bt2020nc')}"
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), *command.split(), str(path)], check=True)

    frame = decode(path, width=48, height=48)[3]

    assert (frame[:, :20] >= 250).all()
    assert frame[24, 40].argmax() == 2


def test_half_transparent_is_half_white(tmp_path: Path) -> None:
    path = tmp_path / "a.mov"
    half = "format=rgba,colorchannelmixer=aa=0.5"
    command = f"-v error -y {CLEAR} -vf {half} {CODECS['a.mov']}".split()
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), *command, str(path)], check=True)

    assert_near([tuple(decode(path)[3][32, 32].astype(int))], [(127, 255, 127)], 4)


# Three reasons not to be read, each with its own name


def refusal(path: Path) -> AttemptFailed:
    with pytest.raises(AttemptFailed) as caught:
        decode(path)
    return caught.value


def test_a_codec_that_is_not_read_is_named_with_those_that_are(tmp_path: Path) -> None:
    path = tmp_path / "a.mov"
    command = "-v error -y -f lavfi -i testsrc=s=1920x1080:r=25:d=0.2 -c:v dnxhd -b:v 120M "
    command += "-pix_fmt yuv422p"
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), *command.split(), str(path)], check=True)

    refused = refusal(path)

    assert refused.code == "media_codec"
    assert "the codec dnxhd, which is not supported; give H.264, HEVC" in refused.message


def test_frames_that_are_too_large_are_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.mp4"
    command = (
        "-v error -y -f lavfi -i color=c=red:s=8192x4320:r=12:d=0.08 -c:v libx264 -preset ultrafast"
    )
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), *command.split(), str(path)], check=True)

    refused = refusal(path)

    assert refused.code == "media_frame_too_large"
    assert re.search(r"frames of 8192x4320; the limit is 24,000,000 pixels", refused.message)


def test_a_header_that_lies_about_its_frames_does_not_help(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    command = (
        "-v error -y -f lavfi -i color=c=red:s=8192x4320:r=12:d=0.08 -c:v libx264 -preset ultrafast"
    )
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), *command.split(), str(path)], check=True)
    small = (8192).to_bytes(2, "big") + (4320).to_bytes(2, "big")
    assert path.read_bytes().count(small)
    path.write_bytes(path.read_bytes().replace(small, b"\0\x40\0\x40"))

    assert refusal(path).code == "media_frame_too_large"


def test_a_matrix_that_is_not_read_is_refused(made: Make) -> None:
    ictcp = "-bsf:v hevc_metadata=matrix_coefficients=14:transfer_characteristics=16"
    path = made("a.mov", f"{JOINED},format=yuv444p", f"{LOSSLESS} {ictcp}")

    refused = refusal(path)

    assert refused.code == "media_colours"
    assert "the colour matrix ictcp, which is not supported; give BT.709" in refused.message


def test_a_broken_video_is_called_broken(made: Make) -> None:
    path = made("a.mp4", JOINED, "-c:v libx264")
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") + 4
    content[start : start + 2000] = bytes(2000)
    path.write_bytes(content)

    refused = refusal(path)

    assert refused.code == "media_unreadable"
    assert refused.message == "the file is truncated or broken; send it whole"


def test_the_codecs_that_are_read_are_those_of_the_documentation() -> None:
    page = Path("docs/api.md").read_text()

    assert media._SUPPORTED["video"] in " ".join(page.split())
