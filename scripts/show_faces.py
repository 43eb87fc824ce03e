"""`make faces`: let the presenters speak, and write a video and a contact sheet of each.

A sheet shows frames across the video, then the mouth in the middle of single sounds and a blink:
what to look at after a change to the puppet.
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from scripts import demo
from scripts.draw_faces import FOLDER, LOOKS
from service.domain.avatar import FPS
from service.domain.models.catalog import PUPPET
from service.domain.request import VideoShape
from service.domain.speech import Phone
from service.speech.phones import split_phone
from service.workers.puppet.articulation import pose_curve
from service.workers.puppet.pose import Pose
from service.workers.puppet.rig import Rig
from service.workers.stages.portrait import read_face
from service.workers.stages.stills import frame_at

OUT = demo.ROOT / "out" / "faces"
SIDE = 512
TEXT = (
    "Hello, and welcome. My lips close for words like mama, papa and baby, and they round for a "
    "blue moon. If you can see that, everything works."
)
SOUNDS = "maiuofsl"
COLUMNS, ROWS, TILE = 6, 3, 240  # of the frames, and their side in the sheet


def main() -> None:
    for folder in (demo.DATA, OUT):
        folder.mkdir(parents=True, exist_ok=True)
    with demo.service() as url:
        for name in LOOKS:
            face, video = FOLDER / f"{name}.jpg", OUT / f"{name}.mp4"
            job = demo.make(url, video, "avatar", "--seed=7", f"--image={face}", f"--text={TEXT}")
            sheet = np.vstack([frames(video, job["result"]["num_frames"]), close_ups(face)])
            Image.fromarray(sheet).save(OUT / f"{name}.png")
            print(demo.relative(video), demo.relative(OUT / f"{name}.png"))


def frames(video: Path, num_frames: int) -> Any:
    """Return frames at even distances, in rows."""
    shape = VideoShape(SIDE, SIDE, num_frames, FPS)
    numbers = np.linspace(0, num_frames - 1, COLUMNS * ROWS).astype(int).tolist()
    tiles = [cv2.resize(frame_at(video, n, shape), (TILE, TILE)) for n in numbers]
    rows = [np.hstack(tiles[start : start + COLUMNS]) for start in range(0, len(tiles), COLUMNS)]
    return np.vstack(rows)


def close_ups(face: Path) -> Any:
    """Return a row of mouths, one for each sound, and one of a shut eye."""
    portrait = read_face(face, PUPPET, 2 * SIDE, 2 * SIDE, 1 << 25).portrait
    rig = Rig(portrait)
    eyes, mouth = portrait.points[[33, 263], :2], portrait.points[[61, 291], :2].mean(0)
    unit = np.linalg.norm(eyes[1] - eyes[0])
    side = COLUMNS * TILE // (len(SOUNDS) + 1)
    poses = [Pose(pose_curve([long(sound)], 0.9)[45]) for sound in SOUNDS]
    tiles = [_cut(rig.draw(pose), mouth, unit, side) for pose in poses]
    tiles.append(_cut(rig.draw(Pose(blink=1.0)), eyes.mean(0), 1.3 * unit, side))
    return np.hstack(tiles)


def long(sound: str) -> Phone:
    (phone, *_) = split_phone(sound, 0.2, 0.7, False)
    return phone


def _cut(frame: Any, middle: Any, width: float, side: int) -> Any:
    left, top = (round(float(place - width / 2)) for place in middle)
    part = frame[top : top + round(width), left : left + round(width)]
    return cv2.resize(part, (side, side), interpolation=cv2.INTER_AREA)


if __name__ == "__main__":
    main()
