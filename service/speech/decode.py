"""Decoding of a provider's audio."""

import subprocess

import imageio_ffmpeg
import numpy as np

from service.domain.attempt import AttemptFailed, FailureKind
from service.speech.base import Samples

_DECODE_SECONDS = 60


def from_pcm(content: bytes) -> Samples:
    """Read little-endian samples of 16 bits, mono; half a sample at the end is dropped."""
    numbers = np.frombuffer(content[: len(content) // 2 * 2], "<i2")
    return numbers.astype(np.float32) / np.float32(32768)


def from_mp3(content: bytes, rate: int) -> Samples:
    """Decode an MP3 file to mono at `rate`.

    Raises ValueError for content that is none, and AttemptFailed (machine) where ffmpeg does not
    run.
    """
    options = "-nostdin -hide_banner -v error -protocol_whitelist pipe -f mp3 -i pipe:0".split()
    output = f"-map 0:a:0 -ac 1 -ar {rate} -f f32le pipe:1".split()
    try:
        process = subprocess.run(  # noqa: S603 - no shell, and no argument from outside
            [imageio_ffmpeg.get_ffmpeg_exe(), *options, *output],
            input=content,
            capture_output=True,
            timeout=_DECODE_SECONDS,
            check=False,
            env={},
        )
    except (OSError, RuntimeError) as fault:  # RuntimeError: imageio finds no program
        raise _machine_failure("does not start") from fault
    except subprocess.TimeoutExpired:
        raise _machine_failure("does not terminate") from None
    if process.returncode < 0:
        raise _machine_failure(f"was killed by signal {-process.returncode}")
    if process.returncode != 0 or not process.stdout:
        raise ValueError(process.stderr.decode(errors="replace").strip()[-200:])
    samples: Samples = np.frombuffer(process.stdout, "<f4").astype(np.float32)
    return samples.clip(-1.0, 1.0)


def _machine_failure(reason: str) -> AttemptFailed:
    message = f"the worker's machine failed: ffmpeg {reason}"
    return AttemptFailed(FailureKind.MACHINE, "machine_fault", message)
