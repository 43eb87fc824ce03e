"""Faces and voices that cannot be used: each is refused with what to send instead.

They are refused by the first stage, on a CPU, before anything is spoken or a model is loaded.
"""

import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from scripts import draw_faces
from service.artifacts.files import Files
from service.domain.attempt import AttemptFailed, FailureKind, speech_keys
from service.domain.media import MediaRef
from service.domain.models.catalog import PUPPET
from service.workers.adapters.base import Frame
from service.workers.adapters.puppet import Puppet
from service.workers.recipe import WorkerEnvironment, make_video
from service.workers.stages.portrait import read_face
from tests.workers.avatars import FACES, JOB, heard, keep, make, ticket, write_wav
from tests.workers.inputs.pictures import bombs
from tests.workers.puppet.faces import cat, smiley

pytestmark = pytest.mark.slow

RATE = 48_000
Write = Callable[[Path], Path]


def face(name: str = "marc") -> Frame:
    return np.array(Image.open(FACES[name]).convert("RGB"))


def group() -> Frame:
    return np.hstack([face("anna"), face("marc"), face("zuri")])


def distant() -> Frame:
    small = cv2.resize(face(), (130, 130), interpolation=cv2.INTER_AREA)
    return cv2.copyMakeBorder(small, 40, 40, 60, 60, cv2.BORDER_REPLICATE)


def turned(degrees: float = 60.0) -> Frame:
    """The surface that a face was drawn from, turned around the neck."""
    photo, angle = face(), np.radians(degrees)
    height, x = draw_faces._height(draw_faces.LOOKS["marc"])[::2, ::2], draw_faces.X[::2, ::2]
    away = np.argsort(height * np.cos(angle) - x * np.sin(angle), axis=1)  # the nearest last
    place = (x * np.cos(angle) + (height - 0.3) * np.sin(angle)) * draw_faces._UNIT / 2 + 320
    result = np.full_like(photo, 90)
    for row, order in enumerate(away):
        columns = np.clip(np.rint(place[row, order]).astype(int), 0, 638)
        for wide in (0, 1):  # without gaps
            result[row, columns + wide] = photo[row, order]
    return result


def covered() -> Frame:
    photo = face()
    cv2.rectangle(photo, (240, 350), (400, 470), (90, 150, 190), -1)
    return photo


def tilted() -> Frame:
    matrix = cv2.getRotationMatrix2D((320, 275), 60, 1.0)
    return np.asarray(cv2.warpAffine(face(), matrix, (640, 640), borderMode=cv2.BORDER_REPLICATE))


def as_png(draw: Callable[[], Frame]) -> Write:
    def written(folder: Path) -> Path:
        Image.fromarray(np.ascontiguousarray(draw())).save(folder / "photo.png")
        return folder / "photo.png"

    return written


def bytes_of(content: bytes) -> Write:
    def written(folder: Path) -> Path:
        (folder / "input").write_bytes(content)
        return folder / "input"

    return written


PHOTOS: dict[str, tuple[Write, str, str]] = {
    "an animal": (as_png(cat), "face_not_found", "send one of a person"),
    "a smiley": (as_png(smiley), "face_not_found", "send one of a person"),
    "no face": (
        as_png(lambda: np.full((480, 640, 3), (120, 90, 60), np.uint8)),
        "face_not_found",
        "send one of a person",
    ),
    "a group": (as_png(group), "several_faces", "send one that is cropped to the face"),
    "a distant face": (as_png(distant), "face_too_small", "send a larger photo"),
    "a profile": (as_png(turned), "face_turned_away", "send a photo of a face that looks towards"),
    "a mask": (as_png(covered), "mouth_covered", "send a photo with a free mouth"),
    "a cut face": (
        as_png(lambda: face()[:, :385]),
        "face_cut_off",
        "send one that shows all of the face",
    ),
    "upside down": (as_png(lambda: face()[::-1, ::-1]), "face_rotated", "send it turned upright"),
    "on its side": (as_png(lambda: np.rot90(face())), "face_rotated", "turned upright"),
    "tilted": (as_png(tilted), "face_rotated", "send the photo turned upright"),
    "40 megapixels": (
        as_png(lambda: np.zeros((5000, 8000, 3), np.uint8)),
        "image_too_large",
        "is 8000x5000; the limit is 24,000,000 pixels: send a smaller one",
    ),
    "a bomb": (bytes_of(bombs()["pixels.png"]), "image_too_large", "send a smaller one"),
    "too many bytes": (bytes_of(bytes(33_000_000)), "image_too_large", "send a smaller one"),
    "a truncated photo": (
        bytes_of(FACES["marc"].read_bytes()[:9000]),
        "image_unreadable",
        "send it whole",
    ),
    "text": (bytes_of(b"no photo"), "image_format", "send one of those"),
}


@pytest.mark.parametrize(("write", "code", "way_out"), PHOTOS.values(), ids=PHOTOS.keys())
def test_a_photo_is_refused_before_its_voice_is_read(
    tmp_path: Path, write: Write, code: str, way_out: str
) -> None:
    artifacts = Files(tmp_path / "artifacts")
    asked = ticket(artifacts, text="Hello.")
    keep(artifacts, "reference_image", write(tmp_path))
    artifacts.delete(speech_keys(JOB)[0])  # reading it would fail

    world = WorkerEnvironment(artifacts, tmp_path)
    with pytest.raises(AttemptFailed) as refused:
        make_video(asked, Puppet(PUPPET), world, f"jobs/{JOB}/2", lambda *_: None)

    check(refused.value, code, way_out)


def test_a_photo_is_checked_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(AttemptFailed) as refused:
        read_face(as_png(group)(tmp_path), PUPPET, 512, 512, 1 << 25)

    face = read_face(FACES["anna"], PUPPET, 512, 768, 1 << 25)
    assert face.portrait is not None
    assert face.portrait.image.shape == (768, 512, 3)
    assert refused.value.code == "several_faces"


def sound(samples: np.ndarray) -> Write:
    return lambda folder: write_wav(samples, RATE, folder / "voice.wav")


def tone(seconds: float) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * 220 * np.arange(round(seconds * RATE)) / RATE)


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, round(seconds * RATE))


def by_ffmpeg(options: str, name: str) -> Write:
    def written(folder: Path) -> Path:
        command = [imageio_ffmpeg.get_ffmpeg_exe(), *f"-v error -y {options}".split()]
        subprocess.run([*command, str(folder / name)], check=True, stdin=subprocess.DEVNULL)
        return folder / name

    return written


def two_silent_hours(folder: Path) -> Path:
    """A FLAC whose header does not say how long it is."""
    file = by_ffmpeg("-f lavfi -i anullsrc=r=8000:cl=mono -t 7200", "bomb.flac")(folder)
    content = bytearray(file.read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    file.write_bytes(content)
    return file


SIXTEEN = "|".join(f"c{number}=c0" for number in range(16))
VOICES: dict[str, tuple[Write, str, str]] = {
    "too short": (sound(tone(0.3)), "audio_too_short", "0.5 s are needed; send a longer one"),
    "too long": (
        by_ffmpeg("-f lavfi -i sine=r=8000 -t 7200 -c:a pcm_u8", "long.wav"),
        "media_too_long",
        "is longer than 600 s; send a shorter one",
    ),
    "a bomb": (two_silent_hours, "media_too_long", "send a shorter one"),
    "too many bytes": (bytes_of(bytes(200_000_001)), "media_too_large", "send a smaller one"),
    "too many channels": (
        by_ffmpeg(f"-f lavfi -i sine=d=2 -af pan=16c|{SIXTEEN}", "many.wav"),
        "media_channels",
        "give mono, stereo, 5.1 or 7.1",
    ),
    "silence": (sound(np.zeros(2 * RATE)), "audio_silent", "send a recording with a voice"),
    "a tone": (sound(tone(4)), "audio_without_speech", "send a recording with a voice"),
    "noise": (sound(noise(4)), "audio_without_speech", "send a recording with a voice"),
    "a silent video": (
        by_ffmpeg("-f lavfi -i testsrc=d=2:s=64x64 -pix_fmt yuv420p", "silent.mp4"),
        "media_kind",
        "has no sound; give a recording",
    ),
    "a broken file": (bytes_of(b"OggS" + bytes(3000)), "media_unreadable", "send it whole"),
    "text": (bytes_of(b"no sound at all"), "media_format", "send one of those"),
}


@pytest.mark.parametrize(("write", "code", "way_out"), VOICES.values(), ids=VOICES.keys())
def test_a_voice_is_refused(tmp_path: Path, write: Write, code: str, way_out: str) -> None:
    artifacts = Files(tmp_path / "artifacts")
    keep(artifacts, "audio", write(tmp_path))

    with pytest.raises(AttemptFailed) as refused:
        make(artifacts, audio=MediaRef(source="upload"))

    check(refused.value, code, way_out)


def check(failure: AttemptFailed, code: str, way_out: str) -> None:
    assert (failure.kind, failure.code) == (FailureKind.USER, code), failure.message
    assert way_out in failure.message
    assert "\n" not in failure.message


def test_a_voice_in_a_loud_room_is_taken() -> None:
    from service.workers.stages.voice_activity import check_speech_heard
    from tests.workers.puppet.faces import syllables

    voice = np.repeat(syllables(6.0), 3)  # 48 kHz
    loud = voice + np.random.default_rng(0).normal(0, np.sqrt(np.mean(voice**2)), len(voice))

    check_speech_heard(np.clip(loud[:, None] * 32768 * np.ones(2), -32768, 32767).astype(np.int16))


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ("-c:a libmp3lame", "voice.mp3"),
        ("-c:a aac", "voice.aac"),
        ("-c:a libopus -ac 6", "voice.webm"),
        ("-f lavfi -i testsrc=d=2:s=64x64 -shortest -pix_fmt yuv420p", "voice.mp4"),
    ],
)
def test_the_sound_of_any_file_is_taken(tmp_path: Path, options: str, name: str) -> None:
    from tests.workers.puppet.faces import syllables

    source = write_wav(syllables(2.0), 16_000, tmp_path / "source.wav")
    file = by_ffmpeg(f"-i {source} {options}", name)(tmp_path)
    artifacts = Files(tmp_path / "artifacts")
    keep(artifacts, "audio", file)

    outcome = make(artifacts, audio=MediaRef(source="upload"))

    frames = int(np.ceil(len(heard(file)) / RATE * 25 - 1e-6))
    assert outcome.facts.num_frames == frames
    assert 50 <= frames <= 53
