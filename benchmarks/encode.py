"""Our pipe to ffmpeg against ffmpeg alone, and the memory of a long clip against a short one.

Ffmpeg alone reads the same frames from a file in memory: without Python, and without the pipe
that `cat file |` would pay for too. Both go once in each round, each first in turn, and the median
of the rounds' ratios is printed: `python -m benchmarks.encode [--rounds 9]`.
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
# Drawn beforehand and used in turn, so that making frames costs nothing. A slate's are quick to
# encode; a film's keep ffmpeg busy for longer, and what we add to it shows less.
DRAWN_FRAMES = 48
SECONDS = (5, 60)
# What must hold.
MAX_RATIO = 1.15
MAX_GROWTH_MB = 100.0


def main() -> int:
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--sizes", nargs="+", default=SIZES, help="width x height x frames")
    options.add_argument("--only-clip", type=int, help="seconds: make it and tell the memory")
    chosen = options.parse_args()
    if chosen.only_clip:
        print(json.dumps(_memory_of(chosen.only_clip)))
        return 0
    # Where it is above the number of cores, look at `of CPU` before you believe a missed ratio.
    load = os.getloadavg()[0]
    # Memory first: a new process counts that of its parent as its own peak, and the frames of
    # the speed test would be in it.
    memory = {seconds: _memory(seconds) for seconds in SECONDS}
    speeds = {size: _speed(_request(size), chosen.rounds) for size in chosen.sizes}
    print(
        f"{os.cpu_count()} cores (load {load:.1f} before), Python {platform.python_version()}, "
        f"{chosen.rounds} rounds"
    )
    missed = _print_speeds(speeds) + _print_memory(memory)
    print("all bounds hold" if not missed else f"{missed} bounds missed")
    return 1 if missed else 0


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
class GpuTime:
    """Seconds that passed, and seconds that processors worked: these heed no neighbour's load."""

    wall: float
    cpu: float


def _speed(request: VideoRequest, rounds: int) -> list[dict[str, GpuTime]]:
    """For each round what `ours` spent and what ffmpeg `alone`."""
    drawn = list(
        islice(Slate(SLATE).generate(request, NO_CONDITIONS, lambda *_: None), DRAWN_FRAMES)
    )
    with tempfile.TemporaryDirectory(prefix="rushes-bench-", dir=_in_memory()) as folder:
        work = _Work(request, drawn, Path(folder))
        work.check_same()
        return [work.once(-1 if number % 2 else 1) for number in range(rounds)]


def _in_memory() -> Path | None:
    """Where files lie in memory, if there is room; otherwise the page cache has to do."""
    shared = Path("/dev/shm")
    return shared if shared.is_dir() and shutil.disk_usage(shared).free > 1 << 30 else None


class _Work:
    """The same frames to the same MP4, in two ways."""

    def __init__(self, request: VideoRequest, drawn: list[Frame], folder: Path) -> None:
        self._request, self._drawn = request, drawn
        self._raw, self._mp4 = folder / "frames.rgb", folder / "video.mp4"
        with self._raw.open("wb") as file:
            file.writelines(frame.data for frame in islice(cycle(drawn), request.num_frames))

    def ours(self) -> None:
        frames = islice(cycle(self._drawn), self._request.num_frames)
        encode.encode(frames, self._request, self._mp4, {})

    def alone(self) -> None:
        # Our very command, but for where it reads and may read.
        command = encode._command(self._request, self._mp4, {})
        command[command.index("pipe:0")] = f"file:{self._raw}"
        command[command.index("-protocol_whitelist") + 1] = "file"
        subprocess.run(command, check=True)

    def once(self, order: int) -> dict[str, GpuTime]:
        return {act.__name__: _spent(act) for act in (self.ours, self.alone)[::order]}

    def check_same(self) -> None:
        """Also warms both up. Not byte for byte: x264's threads leave a few bytes to chance."""
        self.ours()
        ours = self._mp4.stat().st_size
        self.alone()
        if abs(self._mp4.stat().st_size / ours - 1) > 0.01:
            raise SystemExit("the two did not make the same video")


def _spent(act: Callable[[], None]) -> GpuTime:
    wall, cpu = time.perf_counter(), _cpu_seconds()
    act()
    return GpuTime(time.perf_counter() - wall, _cpu_seconds() - cpu)


def _cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    return sum(os.times()[:4])


def _memory(seconds: int) -> dict[str, float]:
    """Of a process of its own, for a peak never falls again."""
    command = [sys.executable, "-m", "benchmarks.encode", "--only-clip", str(seconds)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _memory_of(seconds: int) -> dict[str, float]:
    """Make a clip by the whole recipe; peaks of this process and of its largest child, in MB."""
    request = _request(f"768x512x{seconds * 24}")
    told = Ticket(
        job_id="job", attempt=1, fence=1, token="t", request=request, card=SLATE, api_url=""
    )
    with tempfile.TemporaryDirectory(prefix="rushes-bench-") as folder:
        bench = WorkerEnvironment(Files(Path(folder) / "artifacts"), scratch=Path(folder))
        make_video(told, Slate(SLATE), bench, "job/1", lambda *_: None)
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes on Linux
    peaks = {"python": resource.RUSAGE_SELF, "ffmpeg": resource.RUSAGE_CHILDREN}
    return {name: resource.getrusage(who).ru_maxrss * unit / 1e6 for name, who in peaks.items()}


def _print_speeds(speeds: dict[str, list[dict[str, GpuTime]]]) -> int:
    names = ("ours", "ffmpeg -i file", "ratio", "least", "most", "of CPU")
    widths = (10, 16, 8, 8, 8, 8)
    print(f"{'seconds':16}" + "".join(f"{n:>{w}}" for n, w in zip(names, widths, strict=True)))
    missed = 0
    for size, rounds in speeds.items():
        ours, alone = (statistics.median(r[name].wall for r in rounds) for name in rounds[0])
        ratios = sorted(r["ours"].wall / r["alone"].wall for r in rounds)
        ratio = statistics.median(ratios)
        cpu = statistics.median(r["ours"].cpu / r["alone"].cpu for r in rounds)
        missed += ratio > MAX_RATIO
        print(
            f"{size:16}{ours:10.2f}{alone:16.2f}"
            f"{ratio:8.2f}{ratios[0]:8.2f}{ratios[-1]:8.2f}{cpu:8.2f}"
        )
    return missed


def _print_memory(memory: dict[int, dict[str, float]]) -> int:
    short, long = (memory[seconds] for seconds in SECONDS)
    print(f"{'peak MB':16}{f'{SECONDS[0]} s clip':>10}{f'{SECONDS[1]} s clip':>16}{'growth':>8}")
    for name in short:
        growth = long[name] - short[name]
        print(f"{name:16}{short[name]:10.1f}{long[name]:16.1f}{growth:8.1f}")
    return int(sum(long.values()) - sum(short.values()) > MAX_GROWTH_MB)


if __name__ == "__main__":
    sys.exit(main())
