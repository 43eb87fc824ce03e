"""Pictures and films come out at exactly the request's size, whatever they were before."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from service.artifacts.files import Files
from service.domain.attempt import AttemptFailed, FailureKind, Stage
from service.domain.media import MediaRef
from service.workers.adapters.base import NO_CONDITIONS, Conditions
from service.workers.stages.fetch import Sources
from service.workers.stages.inputs.media import decode_video
from service.workers.stages.preprocess import fit_image, preprocess
from tests import make
from tests.workers.inputs.pictures import gradient, saved

UPLOAD = MediaRef(source="upload")
Frames = Callable[..., Path]


def halves(size: tuple[int, int]) -> Image.Image:
    """Red on the left, blue on the right, a green stripe of a tenth at each end."""
    width, height = size
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2] = (255, 0, 0)
    pixels[:, width // 2 :] = (0, 0, 255)
    pixels[:, : width // 10] = pixels[:, -width // 10 :] = (0, 255, 0)
    return Image.fromarray(pixels)


@pytest.fixture
def film(tmp_path: Path) -> Frames:
    def made(name: str, recipe: str) -> Path:
        path = tmp_path / name
        command = [imageio_ffmpeg.get_ffmpeg_exe(), *f"-v error -y {recipe}".split(), str(path)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        return path

    return made


def decode(path: Path, **changes: Any) -> Any:
    values = {"width": 64, "height": 64, "num_frames": 12, "fps": 12, "fit": "crop", **changes}
    return decode_video(path, make.request(**values), max_bytes=1_000_000)


# Pictures


def test_a_wide_picture_is_cropped_around_its_middle() -> None:
    frame = fit_image(halves((400, 100)), make.request(width=100, height=100, fit="crop"))

    assert frame.shape == (100, 100, 3)
    assert frame.dtype == np.uint8
    assert (frame[50, 5] == (255, 0, 0)).all()  # the stripes are cut away
    assert (frame[50, 95] == (0, 0, 255)).all()


def test_a_wide_picture_is_padded_with_black() -> None:
    frame = fit_image(halves((400, 100)), make.request(width=100, height=100, fit="pad"))

    assert (frame[:37] == 0).all()
    assert (frame[-37:] == 0).all()
    assert (frame[50, 2] == (0, 255, 0)).all()
    assert (frame[50, 97] == (0, 255, 0)).all()


def test_a_picture_of_the_right_size_is_taken_as_it_is() -> None:
    picture = gradient(size=(96, 64))

    frame = fit_image(picture, make.request(width=96, height=64, fit="crop"))

    assert np.array_equal(frame, np.asarray(picture))


# Films

RED_THEN_BLUE = (
    "-f lavfi -i color=red:size={size}:rate=24:duration=1 "
    "-f lavfi -i color=blue:size={size}:rate=24:duration=1 "
    "-filter_complex [0][1]concat -c:v libx264 -qp 0 -pix_fmt yuv444p"
)


def test_a_film_is_cut_to_the_frames_and_the_rate_of_the_request(film: Frames) -> None:
    path = film("a.mp4", RED_THEN_BLUE.format(size="64x64"))

    whole = decode(path, num_frames=24, fps=12)
    start = decode(path, num_frames=12, fps=12)
    slow = decode(path, num_frames=60, fps=30)

    for frames, changes_at in ((whole, 12), (slow, 30)):
        reds = frames[:, 32, 32, 0] > 200
        assert reds[: changes_at - 1].all()
        assert not reds[changes_at + 1 :].any()
    assert (start[:, 32, 32, 0] > 200).all()


def test_a_film_of_another_shape_is_cropped_or_padded(film: Frames) -> None:
    path = film("a.mp4", RED_THEN_BLUE.format(size="128x64"))

    cropped = decode(path, fit="crop")
    padded = decode(path, fit="pad")

    assert (cropped[0, ..., 0] > 200).all()
    assert (padded[0, :15] < 20).all()
    assert (padded[0, -15:] < 20).all()
    assert (padded[0, 20:44, ..., 0] > 200).all()


def test_a_telephones_film_stands_upright_and_pixels_are_square(film: Frames) -> None:
    half = (
        "-f lavfi -i color=red:size=64x64:duration=1 -f lavfi -i color=blue:size=64x64:duration=1"
    )
    lying = film("l.mp4", f"{half} -filter_complex [0][1]hstack -c:v libx264 -pix_fmt yuv420p")
    turned = film("t.mp4", f"-display_rotation 90 -i {lying} -c copy")
    narrow = film(
        "n.mp4", f"{half} -filter_complex [0][1]vstack,setsar=2/1 -c:v libx264 -pix_fmt yuv420p"
    )

    upright = decode(turned, width=64, height=128)
    square = decode(narrow, width=128, height=128)

    top, foot = upright[0, 20, 32], upright[0, 108, 32]
    assert {top.argmax(), foot.argmax()} == {0, 2}  # one above the other
    assert (square[0, 20, :, 0] > 200).all()
    assert (square[0, 108, :, 2] > 200).all()


def test_too_short_a_film_says_how_long_it_is(film: Frames) -> None:
    path = film("a.mp4", RED_THEN_BLUE.format(size="64x64"))

    with pytest.raises(AttemptFailed, match=r"has 2\.00 s and 5\.00 s are needed") as caught:
        decode(path, num_frames=60, fps=12)

    assert (caught.value.kind, caught.value.code) == (FailureKind.USER, "media_too_short")


def test_the_last_frame_fills_a_tenth_of_a_second(film: Frames) -> None:
    path = film("a.mp4", RED_THEN_BLUE.format(size="64x64"))

    frames = decode(path, num_frames=25, fps=12)

    assert np.array_equal(frames[24], frames[23])


def test_a_film_that_breaks_off_is_refused(film: Frames, tmp_path: Path) -> None:
    whole = film("a.webm", "-f lavfi -i testsrc=size=64x64:rate=24:duration=4 -c:v libvpx")
    (tmp_path / "cut.webm").write_bytes(whole.read_bytes()[: whole.stat().st_size // 4])

    with pytest.raises(AttemptFailed) as caught:
        decode(tmp_path / "cut.webm", num_frames=48)

    assert caught.value.kind is FailureKind.USER


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("a.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{canary}\n", "media_format"),
        ("a.txt", b"ffconcat version 1.0\nfile '{canary}'\n", "media_format"),
        ("a.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "media_format"),
        ("a.mp4", b"\0\0\0\x18ftypmp42" + bytes(500), "media_unreadable"),
    ],
)
def test_what_is_no_film_opens_nothing(
    tmp_path: Path, name: str, content: bytes, code: str
) -> None:
    canary = tmp_path / "canary"
    canary.write_bytes(b"x")
    path = tmp_path / name
    path.write_bytes(content.replace(b"{canary}", str(canary).encode()))

    with pytest.raises(AttemptFailed) as caught:
        decode(path)

    assert (caught.value.kind, caught.value.code) == (FailureKind.USER, code)


# The stage


def run(folder: Path, files: dict[str, bytes], **changes: Any) -> tuple[Conditions, list[Any]]:
    ticket = make.ticket(request=make.request(**dict.fromkeys(files, UPLOAD), **changes))
    artifacts = Files(folder / "artifacts")
    for role, content in files.items():
        (folder / "a").write_bytes(content)
        artifacts.put(f"inputs/{ticket.job_id}/{role}", folder / "a", "image/png")
    steps: list[Any] = []
    media = ticket.request.media
    found = preprocess(ticket, media, artifacts, Sources(), folder, lambda *at: steps.append(at))
    return found, steps


def test_each_input_becomes_its_condition_and_is_told(tmp_path: Path) -> None:
    files = {"image": saved(gradient(), "PNG"), "last_image": saved(halves((64, 64)), "JPEG")}

    found, steps = run(tmp_path, files)

    assert found.image is not None
    assert found.last_image is not None
    assert found.image.shape == found.last_image.shape == (64, 64, 3)
    assert (found.video, found.tail) == (None, None)
    assert steps == [(Stage.PREPROCESS, done, 2) for done in (0, 1, 2)]


def test_the_image_of_a_loop_is_its_last_one_too(tmp_path: Path) -> None:
    found, _ = run(tmp_path, {"image": saved(gradient(), "PNG")}, loop=True)

    assert found.image is not None
    assert found.last_image is not None
    assert np.array_equal(found.image, found.last_image)


def test_a_text_alone_has_no_conditions_and_no_step(tmp_path: Path) -> None:
    assert run(tmp_path, {}) == (NO_CONDITIONS, [])


@pytest.mark.parametrize("content", [b"<svg/>", saved(gradient(), "PNG")[:90], b""])
def test_a_file_that_is_no_picture_is_its_senders_fault(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(AttemptFailed) as caught:
        run(tmp_path, {"image": content})

    assert caught.value.kind is FailureKind.USER
