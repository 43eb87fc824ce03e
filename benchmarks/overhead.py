"""What the service adds to a clip: a ticket's way through the recipe against the bare pipeline.

Bare is diffusers' own call with frames as numpy, their rounding, and one ffmpeg with our very
command; ours loads, checks, generates, encodes, reads the file back, and keeps it with its stills
and its manifest. Both go once in each round, each first in turn, on the tiny LTX-Video of the
tests, and the median of the rounds' ratios is printed:
`python -m benchmarks.overhead [--rounds 5]`.
"""

import argparse
import os
import statistics
from pathlib import Path

from benchmarks import clips
from benchmarks.clips import Subject
from service.domain.models.catalog import LTX_2B
from service.domain.models.tuning import DEFAULT_TUNING
from service.domain.request import VideoRequest

MAX_RATIO = 1.05  # what must hold


def main() -> int:
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--size", default="768x512x121", help="width x height x frames")
    chosen = options.parse_args()
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # a GPU would leave nothing to compare with
    width, height, frames = map(int, chosen.size.split("x"))
    with clips.work_folder() as name:
        from tests.tiny.ltx import build_ltx

        folder = Path(name)
        request = _request(width, height, frames)
        ratios = _ratios(Subject(LTX_2B, request, build_ltx(folder / "ltx")), folder, chosen.rounds)
    ratio = statistics.median(ratios)
    print(
        f"{chosen.size} on the tiny LTX-Video, {os.cpu_count()} cores: ours takes {ratio:.3f} "
        f"({min(ratios):.3f}..{max(ratios):.3f}) of the bare pipeline, {len(ratios)} rounds"
    )
    missed = ratio > MAX_RATIO
    print(f"missed: more than {MAX_RATIO}" if missed else f"the bound holds: {MAX_RATIO}")
    return int(missed)


def _ratios(subject: Subject, folder: Path, rounds: int) -> list[float]:
    found = []
    with clips.loaded(subject, DEFAULT_TUNING) as adapter:
        ways = {
            "ours": lambda request: clips.clip(adapter, request, folder).total,
            "bare": lambda request: clips.bare(adapter, request, folder),
        }
        for number in range(-1, rounds):
            # A prompt of its own for each: what one has read must not serve the other.
            order = list(ways)[:: -1 if number % 2 else 1]
            spent = {
                name: ways[name](subject.prompt(2 * number + at)) for at, name in enumerate(order)
            }
            if number >= 0:  # the round before warms both up
                found.append(spent["ours"] / spent["bare"])
                print(f"  ours {spent['ours']:.2f} s, bare {spent['bare']:.2f} s", flush=True)
    return found


def _request(width: int, height: int, frames: int) -> VideoRequest:
    return VideoRequest(
        model=LTX_2B.name,
        prompt="A quiet harbour at dawn; gulls circle above the masts",
        width=width,
        height=height,
        num_frames=frames,
        fps=24,
        num_inference_steps=LTX_2B.default_steps,
        guidance_scale=1.0,
        seed=7,
    )


if __name__ == "__main__":
    raise SystemExit(main())
