"""Frames of a talking portrait, looked at with the face mesh."""

import itertools
import json
import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from service.domain.avatar import FPS
from service.domain.models.catalog import PUPPET
from service.workers.adapters.base import Frame
from service.workers.puppet.articulation import Curve, Waveform, pose_curve
from service.workers.puppet.face import OUTER_EYES, Mesh
from service.workers.puppet.landmarks import LIDS
from service.workers.puppet.lip_sync import mouth_gap
from service.workers.puppet.lips import LipReader
from service.workers.puppet.photo import Portrait
from service.workers.puppet.pose import Pose
from service.workers.puppet.puppet import Talker
from service.workers.puppet.rig import Rig
from service.workers.stages.portrait import read_face
from tests.workers.avatars import FACES
from tests.workers.puppet.faces import babble, finder, portrait, syllables


def frames_of(
    num_frames: int, *, seed: int = 1, start: int = 0, photo: Portrait | None = None
) -> list[Frame]:
    sound = syllables(1.2)
    lips = LipReader().read(sound)
    return list(Talker(photo or portrait(), lips, sound, num_frames, seed).draw(start))


def mesh_of(frame: Frame, near: Portrait) -> Mesh:
    return finder().track(frame, near.points)


def mouth_shape(sound: str) -> np.ndarray:
    """The mouth in the middle of a long sound."""
    return pose_curve(babble(sound, 0.4), 0.9)[40]


def test_the_same_seed_gives_the_same_frames_and_another_one_does_not() -> None:
    one, again, other = (frames_of(12, seed=seed) for seed in (1, 1, 2))

    assert all(map(np.array_equal, one, again))
    assert not any(map(np.array_equal, one, other))


@pytest.mark.parametrize("start", [1, 7, 11])
def test_frames_from_the_middle_are_those_of_the_whole(start: int) -> None:
    whole, tail = frames_of(12), frames_of(12, start=start)

    assert len(tail) == 12 - start
    assert all(map(np.array_equal, whole[start:], tail))


def test_a_longer_clip_begins_with_the_same_frames() -> None:
    assert all(map(np.array_equal, frames_of(5), frames_of(20)))


@pytest.mark.parametrize(
    ("width", "height"), [(512, 512), (720, 1280), (1280, 720), (512, 640), (718, 722)]
)
def test_frames_have_exactly_the_size(width: int, height: int) -> None:
    for frame in frames_of(2, photo=portrait(width, height)):
        assert frame.shape == (height, width, 3)
        assert frame.dtype == np.uint8
        assert frame.flags.c_contiguous


def test_memory_does_not_grow_with_the_number_of_frames() -> None:
    sound = syllables(1.0)
    lips = LipReader().read(sound)

    def peak(num_frames: int) -> int:
        tracemalloc.start()
        for _ in itertools.islice(Talker(portrait(), lips, sound, num_frames, 1).draw(), 15):
            pass
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return held

    frame = 512 * 512 * 3
    assert peak(1500) - peak(15) < 2 * frame


SILENCE = np.zeros(16_000 * 5, np.float32)


@pytest.mark.parametrize("size", [(512, 512), (512, 910)], ids=["square", "tall"])
def test_lips_close_on_every_bilabial_and_part_for_open_vowels(size: tuple[int, int]) -> None:
    vowels = "aæʌɔoaʌɔ" * 2
    consonants = "mbpmbpmbpmbpmbpm"
    pattern = "".join(itertools.chain(*zip(vowels, consonants, strict=True))) + "a"
    photo = portrait(*size)
    lips = pose_curve(babble(pattern, 0.12), 4.5)
    gaps = gaps_of(photo, lips, SILENCE, 112)
    rest = float(np.median(gaps[:3]))
    middles = [0.2 + 0.12 * (index + 0.5) for index in range(len(pattern))]
    around = [gaps[int(at * FPS) - 1 : int(at * FPS) + 2] for at in middles]

    closures = [gap.min() - rest for gap in around[1::2]]
    openings = [gap.max() - rest for gap in around[0::2]]

    assert max(closures) < 0.012
    assert min(openings) > 0.02


def gaps_of(photo: Portrait, lips: Curve, sound: Waveform, num_frames: int) -> np.ndarray:
    """How far the mouth is open in each frame, as a stranger's eye sees it."""
    frames = Talker(photo, lips, sound, num_frames, 1).draw()
    return np.array([mouth_gap(mesh_of(frame, photo)) for frame in frames])


def test_an_open_vowel_opens_the_mouth_wider_than_a_close_one() -> None:
    photo = portrait()
    rig = Rig(photo)

    gaps = [mouth_gap(mesh_of(rig.draw(Pose(mouth_shape(s))), photo)) for s in ("m", "i", "a")]

    assert gaps[0] + 0.01 < gaps[1] < gaps[2] - 0.05


def test_lips_are_narrow_for_oo_and_wide_for_ee() -> None:
    photo = portrait()
    rig = Rig(photo)

    def width(sound: str) -> float:
        mesh = mesh_of(rig.draw(Pose(mouth_shape(sound))), photo)
        return float(np.linalg.norm(mesh.points[61] - mesh.points[291])) / mesh.eye_distance

    assert width("u") < width("a") < width("i")


def test_a_blink_covers_the_whites_of_the_eyes_and_nothing_else() -> None:
    photo = portrait()
    rig = Rig(photo)
    open_eyes, shut = rig.draw(Pose()), rig.draw(Pose(blink=1.0))

    for upper, lower in LIDS:
        lids = photo.points[list(upper + lower), :2]
        (left, top), (right, bottom) = lids.min(0).astype(int), lids.max(0).astype(int)
        whites = [
            (frame[top:bottom, left:right].min(axis=2) > 225).sum() for frame in (open_eyes, shut)
        ]
        assert whites[0] > 100
        assert whites[1] < 0.02 * whites[0]
    below_nose = int(photo.points[2, 1])
    assert np.array_equal(open_eyes[below_nose:], shut[below_nose:])


@pytest.mark.parametrize("name", ["anna", "marc"])
def test_no_sliver_of_an_eye_shows_below_a_shut_lid(name: str) -> None:
    photo = read_face(FACES[name], PUPPET, 512, 512, 1 << 25).portrait
    assert photo is not None
    rig = Rig(photo)
    frames = [rig.draw(Pose(blink=blink)).astype(int) for blink in (0.0, 1.0)]

    for upper, lower in LIDS:
        lids = photo.points[list(upper + lower), :2]
        (left, top), (right, bottom) = lids.min(0).astype(int), lids.max(0).astype(int) + 3
        eyes = [np.ptp(frame[top:bottom, left:right], axis=2) < 25 for frame in frames]
        assert eyes[0].sum() > 200  # what is grey: the white, the pupil and lashes
        assert eyes[1].sum() < 0.2 * eyes[0].sum()


def test_the_inside_of_a_mouth_is_dark_with_teeth_above() -> None:
    photo = portrait()
    frame = Rig(photo).draw(Pose(mouth_shape("a")))
    mesh = mesh_of(frame, photo)
    x = int(mesh.points[13, 0])
    column = frame[int(mesh.points[13, 1]) - 4 : int(mesh.points[14, 1]) + 4, x].mean(axis=1)

    teeth, dark = int(column.argmax()), int(column.argmin())

    assert column[teeth] > 150
    assert column[dark] < 80
    assert teeth < dark


def test_the_head_turns_by_as_much_as_it_is_told() -> None:
    photo = portrait()
    rig = Rig(photo)

    rolled = mesh_of(rig.draw(Pose(roll=2.0)), photo)
    moved = mesh_of(rig.draw(Pose(dx=0.05)), photo)
    rest = mesh_of(rig.draw(Pose()), photo)

    assert np.degrees(rolled.angle - rest.angle) == pytest.approx(2.0, abs=0.7)
    step = (moved.points - rest.points)[list(OUTER_EYES), 0].mean()
    assert step == pytest.approx(0.05 * rest.eye_distance, rel=0.3)


@pytest.mark.parametrize("size", [(512, 512), (720, 1280), (1280, 720)])
def test_the_edges_stand_still_but_for_the_body(size: tuple[int, int]) -> None:
    plain = portrait(*size)
    noise = np.random.default_rng(0).integers(0, 40, plain.image.shape, np.uint8)
    photo = Portrait(plain.image // 2 + noise, plain.points)

    turned = Rig(photo).draw(Pose(mouth_shape("a"), yaw=3.0, pitch=2.0, roll=2.0, dx=0.03))

    for edge in (np.s_[0], np.s_[:, 0], np.s_[:, -1]):
        assert np.abs(photo.image[edge].astype(int) - turned[edge]).mean() < 2
    assert np.abs(photo.image.astype(int) - turned).mean() > 5


def test_frames_are_new_and_the_portrait_is_left_alone() -> None:
    photo = portrait()
    before = photo.image.copy()
    rig = Rig(photo)
    first = rig.draw(Pose())
    copy = first.copy()

    rig.draw(Pose(mouth_shape("a"), blink=1.0))

    assert np.array_equal(photo.image, before)
    assert np.array_equal(first, copy)


def test_no_frames_and_no_sound_are_no_error() -> None:
    nothing = np.zeros(0, np.float32)
    lips = LipReader().read(nothing)

    assert list(Talker(portrait(), lips, nothing, 0, 1).draw()) == []
    assert list(Talker(portrait(), lips, nothing, 3, 1).draw(3)) == []
    assert len(list(Talker(portrait(), lips, nothing, 3, 1).draw())) == 3


@pytest.mark.parametrize("part", ["rig", "lips", "photo", "lip_sync"])
def test_each_part_computes_on_one_thread(part: str) -> None:
    program = (
        f"import json, cv2, threadpoolctl, service.workers.puppet.{part}\n"
        "pools = threadpoolctl.threadpool_info()\n"
        "counts = [pool['num_threads'] for pool in pools if pool['user_api'] == 'blas']\n"
        "print(json.dumps([cv2.getNumThreads(), *counts]))"
    )
    process = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "4"},
        stdout=subprocess.PIPE,
        check=True,
    )

    counts = json.loads(process.stdout)

    assert len(counts) > 1
    assert set(counts) == {1}
