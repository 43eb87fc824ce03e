"""Add sound to a finished MP4, whose video is copied."""

import json
import subprocess
from pathlib import Path
from typing import Any

from service.domain.attempt import AttemptFailed, FailureKind
from service.domain.request import VideoRequest
from service.workers.adapters.base import AUDIO_RATE, Audio
from service.workers.machine import ffmpeg_path, raise_if_machine_fault
from service.workers.stages.encode import timescales

_SECONDS = 600  # AAC encodes two hundred times faster than real time
_BITS_PER_SECOND = "192k"


def add_sound(
    video: Path, audio: Audio, request: VideoRequest, target: Path, provenance: dict[str, Any]
) -> None:
    """Write `target`: the video of `video`, with `audio` as AAC at 48 kHz.

    `audio` must be as long as the video (`audio_samples`); the encoder's delay is in the edit list,
    so that players start both at once. Raises AttemptFailed when ffmpeg fails: machine by a fault
    of the machine, else internal.
    """
    command = [
        ffmpeg_path(),
        *"-nostdin -hide_banner -v error -y -protocol_whitelist file,pipe -i".split(),
        f"file:{video}",
        *f"-f s16le -ar {AUDIO_RATE} -ac {audio.channels} -i pipe:0".split(),
        *f"-map 0:v:0 -map 1:a:0 -c:v copy -c:a aac -b:a {_BITS_PER_SECOND}".split(),
        *f"-movflags +faststart {timescales(request.fps)} -metadata".split(),
        f"comment={json.dumps(provenance)}",
        f"file:{target}",
    ]
    process = subprocess.run(  # noqa: S603
        command,
        input=audio.samples.tobytes(),
        env={},
        capture_output=True,
        timeout=_SECONDS,
        check=False,
    )
    if process.returncode != 0:
        errors = process.stderr.decode(errors="replace").strip()[-500:]
        raise_if_machine_fault(process.returncode, errors)
        message = f"ffmpeg could not add the sound: {errors}"
        raise AttemptFailed(FailureKind.INTERNAL, "sound_failed", message, of_model=False)
