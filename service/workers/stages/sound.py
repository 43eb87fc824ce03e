"""Add sound to a finished MP4, whose video is copied."""

import json
from pathlib import Path
from typing import Any

from service.workers.adapters.base import AUDIO_RATE, Audio, Shape
from service.workers.ffmpeg import run_ffmpeg
from service.workers.stages.encode import timescales

_BITS_PER_SECOND = "192k"


def add_sound(
    video: Path, audio: Audio, request: Shape, target: Path, provenance: dict[str, Any]
) -> None:
    """Write `target`: the video of `video`, with `audio` as AAC at 48 kHz.

    `audio` must be as long as the video (`audio_samples`); the encoder's delay is in the edit list,
    so that players start both at once. Raises AttemptFailed when ffmpeg fails: machine by a fault
    of the machine, else internal.
    """
    options = [
        *"-protocol_whitelist file,pipe -i".split(),
        f"file:{video}",
        *f"-f s16le -ar {AUDIO_RATE} -ac {audio.channels} -i pipe:0".split(),
        *f"-map 0:v:0 -map 1:a:0 -c:v copy -c:a aac -b:a {_BITS_PER_SECOND}".split(),
        *f"-movflags +faststart {timescales(request.fps)} -metadata".split(),
        f"comment={json.dumps(provenance)}",
        f"file:{target}",
    ]
    run_ffmpeg(options, "add the sound", "sound_failed", audio.samples.tobytes())
