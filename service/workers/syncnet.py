"""The lip-sync score of SyncNet, measured by a program in an environment of its own.

SyncNet (Chung and Zisserman, 2016) learned from people on television which sound belongs to which
mouth. Its authors' distances are only right with their face detector and their cepstra, which the
package syncnet-python has; that package and ours need different versions of others.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from subprocess import SubprocessError
from tempfile import TemporaryDirectory
from typing import Any

from service.domain.attempt import AttemptFailed, FailureKind, LipSync
from service.domain.avatar import FPS
from service.programs import ProgramTimeout, run
from service.workers.ffmpeg import ffmpeg_path, run_ffmpeg

_METHOD = "syncnet"
_PYTHON = "bin/python"
_DETECTOR, _NETWORK = "sfd_face.pth", "syncnet_v2.model"
MAX_SECONDS = 30  # of the video: the package holds all its frames in memory, 50 MB a second
_PROGRAM = Path(__file__).with_name("syncnet_program.py")
_TIMEOUT = timedelta(minutes=10)
_MIN_FRAMES = 51  # of a face that the package follows
_MIN_COVERAGE = 0.6
_NO_SYNC, _FULL_SYNC = 1.5, 7.5  # LSE-C: chance, and what real speakers on television reach
_IN_SYNC, _OUT_OF_SYNC = 80, 280  # milliseconds: no loss, and no score


def missing_files(folder: Path) -> list[str]:
    """Return what is not in the folder of the setting `syncnet` and must be."""
    return [name for name in (_PYTHON, _DETECTOR, _NETWORK) if not (folder / name).exists()]


class SyncNetFailed(AttemptFailed):
    """Raised when SyncNet cannot score a video; the video itself is good."""


@dataclass(frozen=True)
class SyncNet:
    """SyncNet in `folder`, an environment of Python with the package and both files of weights; its
    program has the variables of `environment`."""

    folder: Path
    environment: Mapping[str, str]

    def score(
        self, video: Path, num_frames: int, scratch: Path, check_cancel: Callable[[], object]
    ) -> LipSync:
        """Measure the first MAX_SECONDS of a finished video of `num_frames` at FPS with sound.

        Raises SyncNetFailed, and what `check_cancel` raises, which is called about once a second.
        """
        count = min(num_frames, MAX_SECONDS * FPS)
        if count < _MIN_FRAMES:
            return LipSync(score=None, method=_METHOD, reason="the video is too short")
        try:
            with TemporaryDirectory(dir=scratch, ignore_cleanup_errors=True) as name:
                output = self._measure(video, Path(name), check_cancel)
            if not output["tracks"]:
                raise _failure("follows no face")
            return judge(output["tracks"], output["frames"] / count)
        except ProgramTimeout as failure:
            raise _failure(failure.message) from None
        except (OSError, ValueError, KeyError, TypeError) as fault:
            raise _failure(f"writes no score: {fault!r}") from fault

    def _measure(self, video: Path, folder: Path, check_cancel: Callable[[], object]) -> Any:
        """Return what the program writes about the start of a video; `folder` is for its files."""
        start = folder / "start.mp4"
        _cut(video, start)

        def is_wanted() -> bool:
            check_cancel()
            return True

        target = folder / "score.json"
        command = [
            str(self.folder / _PYTHON),
            *("-I", str(_PROGRAM), str(start)),
            *(str(self.folder / _DETECTOR), str(self.folder / _NETWORK)),
            *(str(folder / "work"), str(target)),
        ]
        # The package calls `ffmpeg`: it gets ours.
        (folder / "ffmpeg").symlink_to(ffmpeg_path())
        environment = {**self.environment, "PATH": f"{folder}{os.pathsep}{os.defpath}"}
        run(command, b"", _TIMEOUT, environment, _failure, is_wanted)
        return json.loads(target.read_text(), parse_constant=_refuse_constant)


def _cut(video: Path, target: Path) -> None:
    options = f"-t {MAX_SECONDS} -map 0:v:0 -map 0:a:0 -c copy".split()
    try:
        run_ffmpeg(["-i", f"file:{video}", *options, f"file:{target}"], "cut it", "cut_failed")
    except (AttemptFailed, SubprocessError) as fault:
        raise _failure(f"gets no video: {fault}") from fault


def _refuse_constant(name: str) -> None:
    """Refuse NaN and the infinities, which are no scores."""
    raise ValueError(name)


def judge(tracks: Sequence[dict[str, Any]], coverage: float) -> LipSync:
    """Return the score of the face that fits the sound best, of all that were followed."""
    coverage = round(min(coverage, 1.0), 3)
    if coverage < _MIN_COVERAGE:
        reason = "too few frames show a face"
        return LipSync(score=None, method=_METHOD, reason=reason, face_coverage=coverage)
    best = max(tracks, key=lambda track: float(track["lse_c"]))
    # SyncNet counts how many frames the sound is ahead.
    offset_ms = round(-best["offset"] * 1000 / FPS)
    strength = _share((best["lse_c"] - _NO_SYNC) / (_FULL_SYNC - _NO_SYNC))
    sync = _share((_OUT_OF_SYNC - abs(offset_ms)) / (_OUT_OF_SYNC - _IN_SYNC))
    return LipSync(
        score=round(strength * sync, 3),
        method=_METHOD,
        offset_ms=offset_ms,
        face_coverage=coverage,
        lse_c=round(best["lse_c"], 3),
        lse_d=round(best["lse_d"], 3),
    )


def _share(value: float) -> float:
    return min(1.0, max(0.0, value))


def _failure(reason: str) -> SyncNetFailed:
    return SyncNetFailed(FailureKind.INTERNAL, "syncnet_failed", f"SyncNet {reason}")
