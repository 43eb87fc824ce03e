"""The service's pipe to ffmpeg against ffmpeg alone, and the memory of a long and a short clip.

Ffmpeg alone reads the same frames from a file in memory, without Python or a pipe. Both run once
in each round in alternating order; the median of the rounds' ratios is printed:
`python -m benchmarks.encode [--rounds 9]`.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

from service.artifacts.files import Files
from service.domain.attempt import Ticket
from service.domain.models.catalog import SLATE
from service.domain.request import VideoRequest
from service.workers.adapters.base import NO_CONDITIONS, Frame
from service.workers.adapters.slate import Slate
from service.workers.recipe import WorkerEnvironment, make_video
from service.workers.stages import encode

SIZES = ("768x512x121", "1216x704x121")
# Drawn beforehand and cycled, so that making frames costs nothing. Slate frames are quick to
# encode; with real video the overhead has a smaller share.
SAMPLE_FRAMES = 48
SECONDS = (5, 60)
# The bounds.
MAX_RATIO = 1.15
MAX_GROWTH_MB = 100.0


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--sizes", nargs="+", default=SIZES, help="width x height x frames")
    parser.add_argument("--only-clip", type=int, help="seconds: only make it and print its memory")
    arguments = parser.parse_args()
    if arguments.only_clip:
        print(json.dumps(_memory_of(arguments.only_clip)))
        return 0
    # If it is above the number of cores, compare `of CPU` before trusting a misses ratio.
    load = os.getloadavg()[0]
    # Memory first: a new process inherits its parent's peak, which would include the frames of
    # the speed test.
    memory = {seconds: _memory(seconds) for seconds in SECONDS}
    speeds = {size: _speed(_request(size), arguments.rounds) for size in arguments.sizes}
    print(
        f"{os.cpu_count()} cores (load {load:.1f} before), Python {platform.python_version()}, "
        f"{arguments.rounds} rounds"
    )
    misses = _print_speeds(speeds) + _print_memory(memory)
    print("all bounds hold" if not misses else f"{misses} bounds missed")
    return 1 if misses else 0


def _request(size: str) -> VideoRequest:
    width, height, num_frames = map(int, size.split("x"))
    return VideoRequest(
        model=SLATE.name,
        prompt="A quiet harbour at dawn; gulls circle above the masts",
        width=width,
        height=height,
        num_frames=num_frames,
        fps=24,
        num_inference_steps=30,
        guidance_scale=5.0,
        seed=7,
    )


@dataclass(frozen=True)
class Elapsed:
    """Wall time and CPU time in seconds; CPU time does not depend on other processes' load."""

    wall: float
    cpu: float


def _speed(request: VideoRequest, rounds: int) -> list[dict[str, Elapsed]]:
    """Return the time of `ours` and of ffmpeg `alone` in each round."""
    frames = list(
        islice(Slate(SLATE).generate(request, NO_CONDITIONS, lambda *_: None).frames, SAMPLE_FRAMES)
    )
    with tempfile.TemporaryDirectory(prefix="rushes-bench-", dir=_memory_folder()) as folder:
        work = _Work(request, frames, Path(folder))
        work.check_same()
        return [work.run_both(-1 if number % 2 else 1) for number in range(rounds)]


def _memory_folder() -> Path | None:
    """Return a folder in memory if it has space; else files rely on the page cache."""
    folder = Path("/dev/shm")
    return folder if folder.is_dir() and shutil.disk_usage(folder).free > 1 << 30 else None


class _Work:
    """Encodes equal frames to equal MP4s in two ways."""

    def __init__(self, request: VideoRequest, frames: list[Frame], folder: Path) -> None:
        self._request, self._frames = request, frames
        self._raw, self._mp4 = folder / "frames.rgb", folder / "video.mp4"
        with self._raw.open("wb") as file:
            file.writelines(frame.data for frame in islice(cycle(frames), request.num_frames))

    def ours(self) -> None:
        frames = islice(cycle(self._frames), self._request.num_frames)
        encode.encode(frames, self._request, self._mp4, {})

    def alone(self) -> None:
        # The service's command with another input.
        command = encode.encode_command(self._request, self._mp4, {})
        command[command.index("pipe:0")] = f"file:{self._raw}"
        command[command.index("-protocol_whitelist") + 1] = "file"
        subprocess.run(command, check=True)

    def run_both(self, order: int) -> dict[str, Elapsed]:
        return {run.__name__: _time(run) for run in (self.ours, self.alone)[::order]}

    def check_same(self) -> None:
        """Compare the sizes of both files, which vary by a few bytes, and warm both up."""
        self.ours()
        ours = self._mp4.stat().st_size
        self.alone()
        if abs(self._mp4.stat().st_size / ours - 1) > 0.01:
            raise SystemExit("the two videos differ")


def _time(run: Callable[[], None]) -> Elapsed:
    wall, cpu = time.perf_counter(), _cpu_seconds()
    run()
    return Elapsed(time.perf_counter() - wall, _cpu_seconds() - cpu)


def _cpu_seconds() -> float:
    """Return the CPU time of this process and its ended children."""
    return sum(os.times()[:4])


def _memory(seconds: int) -> dict[str, float]:
    """Measure in a new process, since a peak never falls."""
    command = [sys.executable, "-m", "benchmarks.encode", "--only-clip", str(seconds)]
    process = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    peaks: dict[str, float] = json.loads(process.stdout)
    return peaks


def _memory_of(seconds: int) -> dict[str, float]:
    """Make a clip by the recipe; return the peak MB of this process and its largest child."""
    request = _request(f"768x512x{seconds * 24}")
    ticket = Ticket(
        job_id="job", attempt=1, fence=1, token="t", request=request, card=SLATE, api_url=""
    )
    with tempfile.TemporaryDirectory(prefix="rushes-bench-") as folder:
        environment = WorkerEnvironment(Files(Path(folder) / "artifacts"), scratch=Path(folder))
        make_video(ticket, Slate(SLATE), environment, "job/1", lambda *_: None)
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes on Linux
    peaks = {"python": resource.RUSAGE_SELF, "ffmpeg": resource.RUSAGE_CHILDREN}
    return {name: resource.getrusage(who).ru_maxrss * unit / 1e6 for name, who in peaks.items()}


def _print_speeds(speeds: dict[str, list[dict[str, Elapsed]]]) -> int:
    names = ("ours", "ffmpeg -i file", "ratio", "min", "max", "of CPU")
    widths = (10, 16, 8, 8, 8, 8)
    print(f"{'seconds':16}" + "".join(f"{n:>{w}}" for n, w in zip(names, widths, strict=True)))
    misses = 0
    for size, rounds in speeds.items():
        ours, alone = (statistics.median(r[name].wall for r in rounds) for name in rounds[0])
        ratios = sorted(r["ours"].wall / r["alone"].wall for r in rounds)
        ratio = statistics.median(ratios)
        cpu = statistics.median(r["ours"].cpu / r["alone"].cpu for r in rounds)
        misses += ratio > MAX_RATIO
        print(
            f"{size:16}{ours:10.2f}{alone:16.2f}"
            f"{ratio:8.2f}{ratios[0]:8.2f}{ratios[-1]:8.2f}{cpu:8.2f}"
        )
    return misses


def _print_memory(memory: dict[int, dict[str, float]]) -> int:
    short, long = (memory[seconds] for seconds in SECONDS)
    print(f"{'peak MB':16}{f'{SECONDS[0]} s clip':>10}{f'{SECONDS[1]} s clip':>16}{'growth':>8}")
    for name in short:
        growth = long[name] - short[name]
        print(f"{name:16}{short[name]:10.1f}{long[name]:16.1f}{growth:8.1f}")
    return int(sum(long.values()) - sum(short.values()) > MAX_GROWTH_MB)


if __name__ == "__main__":
    sys.exit(main())
