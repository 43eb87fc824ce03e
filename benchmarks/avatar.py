"""The puppet by stage: CPU time of each, the share of real time, and memory by length.

Every figure is CPU time, which does not depend on other processes' load, but for the wall time
beside it. Drawing is compared with what ffmpeg alone takes to encode the same frames; the medians
of the rounds are printed: `python -m benchmarks.avatar [--rounds 3]`.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from service.artifacts.files import Files
from service.domain.attempt import Ticket, input_key
from service.domain.avatar import AvatarRequest
from service.domain.ids import JobId
from service.domain.ids import new as new_id
from service.domain.media import MediaRef
from service.domain.models.catalog import PUPPET
from service.domain.request import VideoShape
from service.speech.hibari import installed_voices
from service.speech.recording import write_wav
from service.workers.adapters.puppet import Puppet
from service.workers.recipe import WorkerEnvironment, make_video
from service.workers.stages import encode

FACE = Path(__file__).resolve().parents[1] / "scripts" / "faces" / "anna.jpg"
SIZES = ("512x512", "720x720")
TEXT = (
    "The committee met on Thursday afternoon to review seventeen proposals about water quality. "
    "After a long debate they adopted five of them and sent the others back. "
)
SECONDS = (16, 188)  # of the videos whose memory is measured
FPS = PUPPET.default_fps
# The bounds.
MAX_DRAWING = 6.0  # CPU time of a frame's drawing, in that of its encoding
MAX_REAL_TIME = 1.0  # CPU seconds for a second of video at the first size
MAX_GROWTH_MB = 1.0  # memory for each second of video


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", nargs="+", default=SIZES, help="width x height")
    parser.add_argument("--seconds", type=int, nargs=2, default=SECONDS)
    parser.add_argument(
        "--only-memory", type=Path, help="a voice: print the memory and CPU time of its video"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rushes-bench-") as name:
        folder = Path(name)
        if arguments.only_memory:
            _, elapsed = measure(lambda: make(folder, arguments.only_memory, SIZES[0]))
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _memory_unit() / 1e6
            print(json.dumps([peak, elapsed.cpu]))
            return 0
        load = os.getloadavg()[0]
        voices = {seconds: write_voice(folder, seconds) for seconds in arguments.seconds}
        memory = {seconds: _memory(voice) for seconds, voice in voices.items()}
        print(
            f"{os.cpu_count()} cores (load {load:.1f} before), Python {platform.python_version()}, "
            f"{arguments.rounds} rounds"
        )
        voice = voices[arguments.seconds[0]]
        parts = {size: _parts(folder, voice, size, arguments.rounds) for size in arguments.sizes}
    misses = _print_parts(parts) + _print_memory(memory)
    print("all bounds hold" if not misses else f"{misses} bounds missed")
    return 1 if misses else 0


@dataclass(frozen=True)
class Elapsed:
    """Wall time and CPU time in seconds, children included."""

    wall: float
    cpu: float


def measure(run: Callable[[], Any]) -> tuple[Any, Elapsed]:
    wall, cpu = time.perf_counter(), sum(os.times()[:4])
    result = run()
    return result, Elapsed(time.perf_counter() - wall, sum(os.times()[:4]) - cpu)


def write_voice(folder: Path, seconds: int) -> Path:
    """Write a recording of the offline voice, exactly this long."""
    file = folder / f"voice-{seconds}.wav"
    spoken = installed_voices()[0].speak(TEXT, seed=1, speed=1.0)
    num_bytes = 2 * seconds * spoken.rate
    repeats = -(-num_bytes // len(spoken.samples))
    write_wav(replace(spoken, samples=(spoken.samples * repeats)[:num_bytes]), file)
    return file


def make(folder: Path, voice: Path, size: str) -> Path:
    """Make a video as a worker does, and return it."""
    artifacts, job_id = Files(folder / "artifacts"), JobId(new_id("job"))
    for role, file in (("audio", voice), ("reference_image", FACE)):
        copy = folder / "input"
        copy.write_bytes(file.read_bytes())
        artifacts.put(input_key(job_id, role), copy, "application/octet-stream")
    width, height = map(int, size.split("x"))
    request = AvatarRequest(
        model=PUPPET.name,
        prompt="",
        width=width,
        height=height,
        num_frames=None,
        fps=FPS,
        seed=7,
        audio=MediaRef(source="upload"),
        reference_image=MediaRef(source="upload"),
    )
    ticket = Ticket(
        job_id=job_id, attempt=1, fence=1, token="-", request=request, card=PUPPET, api_url=""
    )
    environment = WorkerEnvironment(artifacts, folder)
    outcome = make_video(ticket, Puppet(PUPPET), environment, f"jobs/{job_id}", lambda *_: None)
    video = artifacts.path(outcome.facts.video.key)
    assert video is not None, "files have paths"
    return video


def _parts(folder: Path, voice: Path, size: str, rounds: int) -> dict[str, float]:
    """Return the median of each stage: seconds, or milliseconds for what is done to each frame."""
    measured = [_round(folder, voice, size) for _ in range(rounds + 1)][1:]  # the first warms up
    return {name: statistics.median(one[name] for one in measured) for name in measured[0]}


def _round(folder: Path, voice: Path, size: str) -> dict[str, float]:
    from service.workers.adapters.base import Audio
    from service.workers.puppet.lip_sync import track_mouth
    from service.workers.puppet.lips import LipReader
    from service.workers.puppet.puppet import Talker
    from service.workers.stages.avatar import _to_speech_rate
    from service.workers.stages.inputs.media import decode_speech
    from service.workers.stages.portrait import read_face

    width, height = map(int, size.split("x"))
    sound, decoding = measure(lambda: decode_speech(voice, max_bytes=1 << 30, max_seconds=600))
    speech = _to_speech_rate(Audio(sound))
    face, checking = measure(lambda: read_face(FACE, PUPPET, width, height, 1 << 25))
    assert face.portrait is not None, "the puppet bends a photo"
    lips, reading = measure(lambda: LipReader().read(speech))
    num_frames = len(speech) * FPS // 16_000
    count = min(num_frames, 100)
    portrait = face.portrait
    talker, rigging = measure(lambda: Talker(portrait, lips, speech, num_frames, 7))
    drawing = talker.draw()
    first = next(drawing)
    frames, drawn = measure(lambda: [first, *islice(drawing, count - 1)])
    shape, mp4 = VideoShape(width, height, count, FPS), folder / "frames.mp4"
    raw = b"".join(frame.tobytes() for frame in frames)
    command = encode.encode_command(shape, mp4, {})
    _, encoded = measure(lambda: subprocess.run(command, input=raw, check=True))
    _, tracked = measure(lambda: track_mouth(mp4))
    video, whole = measure(lambda: make(folder, voice, size))
    video.unlink()
    seconds = num_frames / FPS
    return {
        "decode the voice": decoding.cpu,
        "check the face": checking.cpu,
        "lips from sound": reading.cpu,
        "rig and motion": rigging.cpu,
        "draw (ms/frame)": 1000 * drawn.cpu / (count - 1),
        "encode (ms/frame)": 1000 * encoded.cpu / count,
        "score (ms/frame)": 1000 * tracked.cpu / count,
        "frames a second": num_frames / whole.wall,
        "CPU s a second": whole.cpu / seconds,
        "wall s a second": whole.wall / seconds,
    }


def _memory(voice: Path) -> tuple[float, float]:
    """Return the peak MB of a new process that makes a video, since a peak never falls, and the
    CPU seconds of the video."""
    command = [sys.executable, "-m", "benchmarks.avatar", "--only-memory", str(voice)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    peak, cpu = json.loads(done.stdout)
    return peak, cpu


def _memory_unit() -> int:
    return 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes on Linux


def _print_parts(parts: dict[str, dict[str, float]]) -> int:
    sizes = list(parts)
    print(f"{'CPU seconds':20}" + "".join(f"{size:>12}" for size in sizes))
    for name in parts[sizes[0]]:
        print(f"{name:20}" + "".join(f"{parts[size][name]:12.2f}" for size in sizes))
    ratios = {
        size: one["draw (ms/frame)"] / one["encode (ms/frame)"] for size, one in parts.items()
    }
    print(f"{'draw ÷ encode':20}" + "".join(f"{ratios[size]:12.2f}" for size in sizes))
    misses = sum(ratio > MAX_DRAWING for ratio in ratios.values())
    return misses + int(parts[sizes[0]]["CPU s a second"] > MAX_REAL_TIME)


def _print_memory(memory: dict[int, tuple[float, float]]) -> int:
    for seconds, (_, cpu) in memory.items():
        print(f"CPU time of {seconds} s at {SIZES[0]}: {cpu / seconds:.2f} s a second")
    (short, (low, _)), (long, (high, _)) = memory.items()
    growth = (high - low) / (long - short)
    print(f"peak memory: {low:.0f} MB for {short} s, {high:.0f} MB for {long} s", end="; ")
    print(f"{growth:.2f} MB a second")
    return int(growth > MAX_GROWTH_MB)


if __name__ == "__main__":
    sys.exit(main())
