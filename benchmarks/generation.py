"""The speed of the models on this GPU, by stage, and the gain of each setting of docs/speed.md.

`python -m benchmarks.generation --part ltx-2b` (or ltx-13b, wan-fast, settings, load) measures one
part, and adds it to benchmarks/results/<card>-<date>.json with a chart beside it; without `--part`
all of them in order. Models have real shapes and random weights: nothing is fetched. `--tiny` runs
the same code on the tests' tiny checkpoints, on a CPU, to check that it works.
"""

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import clips
from benchmarks.chart import bars
from benchmarks.clips import ClipTimings, Subject
from benchmarks.real_models import ASSEMBLE
from service.domain.attempt import AttemptFailed, Profile
from service.domain.models.catalog import CARDS
from service.domain.models.tuning import DEFAULT_TUNING, Tuning
from service.domain.request import VideoRequest

RESULTS = Path(__file__).parent / "results"
MODELS = {"ltx-2b": "ltx-2b", "ltx-13b": "ltx-13b", "wan-fast": "wan2.2-5b-fast"}
# A prompt of usual length; the random models' tokenizer has one token per character.
PROMPT = "A quiet harbour at dawn; gulls circle above the masts, and the first boat leaves"
PLAIN = Tuning(compile="off", embeddings_bytes=0)
STAGES = ("text", "denoise", "decode", "encode")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--part", choices=[*MODELS, "settings", "load"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tiny", action="store_true", help="on tiny checkpoints, on a CPU")
    parser.add_argument("--out", type=Path, help="the folder for results")
    arguments = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    if arguments.tiny:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        os.environ["OMP_NUM_THREADS"] = "1"  # models this small are slower with threads
    elif not _has_cuda():
        print("this benchmark needs a CUDA GPU, and there is none; --tiny runs without one")
        return 0
    out = arguments.out or (Path("out/benchmarks") if arguments.tiny else RESULTS)
    with clips.work_folder() as folder:
        benchmark = Benchmark(Path(folder), tiny=arguments.tiny, rounds=arguments.rounds)
        for part in [arguments.part] if arguments.part else [*MODELS, "settings", "load"]:
            _save(out, benchmark.device, part, benchmark.measure(part))
    return 0


def _has_cuda() -> bool:
    import torch

    return bool(torch.cuda.is_available())


class Benchmark:
    def __init__(self, folder: Path, *, tiny: bool, rounds: int) -> None:
        self._folder, self._tiny, self._rounds = folder, tiny, rounds
        self.device = _device(matmul_rate(512 if tiny else 8192))

    def measure(self, part: str) -> dict[str, Any]:
        if part == "settings":
            self._rounds = min(self._rounds, 3)  # there are many, and each loads the model again
            return self._measure_tuning(self.subject("ltx-2b"))
        if part == "load":
            return self._measure_load(self.subject("ltx-2b"))
        return self._measure_model(self.subject(MODELS[part]))

    def subject(self, model: str) -> Subject:
        """Return the model with its default clip; on a tiny checkpoint with a tiny one."""
        card = CARDS[model]
        size = {"width": card.default_width, "height": card.default_height}
        frames = round(card.default_fps * card.default_seconds / card.frames.step)
        request = VideoRequest(
            model=model,
            prompt=PROMPT,
            num_frames=(2 if self._tiny else frames) * card.frames.step + 1,
            fps=card.default_fps,
            num_inference_steps=card.default_steps,
            guidance_scale=card.default_guidance,
            seed=7,
            **({"width": 96, "height": 64} if self._tiny else size),
        )
        if not self._tiny:
            return Subject(card, request, assemble=ASSEMBLE[model])
        from tests.tiny import BUILD

        folder = self._folder / model
        return Subject(card, request, BUILD[model](folder) if not folder.exists() else folder)

    def _measure_model(self, subject: Subject) -> dict[str, Any]:
        """Measure the model with default tuning, eager, and as the eager bare pipeline."""
        with clips.loaded_adapter(subject, PLAIN) as adapter:
            eager = {**self._clips(adapter, subject), "peak_gb": _peak_gb()}
            flop = clips.flops(adapter, subject.request)
            # No single pipeline call has two passes and an upsampler.
            bare = None if subject.card.name == "ltx-13b" else self._bare(adapter, subject)
        with clips.loaded_adapter(subject, DEFAULT_TUNING) as adapter:
            ours = {**self._clips(adapter, subject), "peak_gb": _peak_gb()}
            made_with = adapter.made_with
        floor = flop / self.device["matmul_flops"]
        model_seconds = sum(ours["median"][stage] for stage in ("text", "denoise", "decode"))
        return {
            "request": subject.request.model_dump(),
            "tflop": flop / 1e12,
            "floor_seconds": floor,
            "share_of_floor": floor / model_seconds,
            "made_with": made_with,
            "ours": ours,
            "ours_eager": eager,
            "bare_seconds": bare,
            "bare_over_ours": bare and bare / ours["median"]["total"],
        }

    def _bare(self, adapter: Any, subject: Subject) -> float:
        return statistics.median(
            clips.time_bare(adapter, subject.prompt(n), self._folder) for n in range(self._rounds)
        )

    def _clips(self, adapter: Any, subject: Subject) -> dict[str, Any]:
        """Time the first clip, which is slower, and the median of later ones with new prompts."""
        _reset_peak()
        first = clips.time_clip(adapter, subject.prompt(999), self._folder)
        later = [
            clips.time_clip(adapter, subject.prompt(n), self._folder) for n in range(self._rounds)
        ]
        return {"first": asdict(first), "median": asdict(_median(later))}

    def _measure_tuning(self, subject: Subject) -> dict[str, Any]:
        """Measure each setting alone against none, on the same GPU within minutes."""
        results = {"none": self._measure_one(subject, PLAIN)}
        for name, change in SETTINGS.items():
            try:
                results[name] = self._measure_one(subject, PLAIN.model_copy(update=change))
            except AttemptFailed as error:
                results[name] = {"refused": error.message}
        results["embeddings"] = self._measure_cached_prompt(subject)
        results["small profile"] = self._measure_one(subject, PLAIN, Profile.SMALL)
        for result in results.values():
            if "median" in result:
                result["gain"] = results["none"]["median"]["total"] / result["median"]["total"]
        return results

    def _measure_one(
        self, subject: Subject, tuning: Tuning, profile: Profile = Profile.FULL
    ) -> dict[str, Any]:
        with clips.loaded_adapter(subject, tuning, profile) as adapter:
            # The recipe loads the full profile, so for the small one only the adapter is timed.
            measure = self._clips if profile is Profile.FULL else self._frames
            return {
                **measure(adapter, subject),
                "peak_gb": _peak_gb(),
                "made_with": adapter.made_with,
            }

    def _frames(self, adapter: Any, subject: Subject) -> dict[str, Any]:
        from service.workers.adapters.base import NO_CONDITIONS

        _reset_peak()
        seconds = []
        for number in range(self._rounds + 1):
            start = time.perf_counter()
            list(adapter.generate(subject.prompt(number), NO_CONDITIONS, lambda *_: None).frames)
            seconds.append(time.perf_counter() - start)
        return {"seconds_to_frames": statistics.median(seconds[1:])}

    def _measure_cached_prompt(self, subject: Subject) -> dict[str, Any]:
        tuning = PLAIN.model_copy(update={"embeddings_bytes": DEFAULT_TUNING.embeddings_bytes})
        with clips.loaded_adapter(subject, tuning) as adapter:
            clips.time_clip(adapter, subject.request, self._folder)
            later = [
                clips.time_clip(adapter, subject.request, self._folder) for _ in range(self._rounds)
            ]
            return {"median": asdict(_median(later)), "made_with": adapter.made_with}

    def _measure_load(self, subject: Subject) -> dict[str, Any]:
        """Time loading from the local disk, with a cold and a warm page cache."""
        folder = subject.folder or self._folder / "weights"
        if subject.folder is None:
            if shutil.disk_usage(self._folder).free < 40e9:
                return {"skipped": f"no 40 GB free in {self._folder}"}
            with clips.loaded_adapter(subject, PLAIN) as adapter:
                adapter.pipe.save_pretrained(folder)
        is_cold = _drop_page_cache(folder)
        from_disk = Subject(subject.card, subject.request, folder)
        start = time.perf_counter()
        with clips.loaded_adapter(from_disk, PLAIN):
            cold = time.perf_counter() - start
        start = time.perf_counter()
        with clips.loaded_adapter(from_disk, PLAIN):
            warm = time.perf_counter() - start
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        return {
            "gb": size / 1e9,
            "cold_seconds": cold,
            "pages_forgotten": is_cold,
            "again_seconds": warm,
        }


# Each is measured alone. Settings that are not available are recorded as refused.
SETTINGS: dict[str, dict[str, Any]] = {
    "compile": {"compile": "auto"},
    "compile, decoder too": {"compile": "auto", "compile_decoder": True},
    "compile, float8": {"compile": "auto", "quantize": "float8"},
    "attention _native_math": {"attention": "_native_math"},
    "attention _native_cudnn": {"attention": "_native_cudnn"},
    "attention flash": {"attention": "flash"},
    "attention _flash_3_hub": {"attention": "_flash_3_hub"},
    "attention sage": {"attention": "sage"},
    "float8": {"quantize": "float8"},
    "float8-weights": {"quantize": "float8-weights"},
    "int8-weights": {"quantize": "int8-weights"},
    "float8-storage": {"quantize": "float8-storage"},
    "channels last": {"vae_channels_last": True},
}


def matmul_rate(size: int) -> dict[str, float]:
    """Measure the FLOP per second of a large matrix multiplication, an upper bound for models."""
    import torch

    from service.workers.device import best_dtype, find_device, wait_for

    device = find_device()
    matrix = torch.randn(size, size, device=device).to(best_dtype(device))
    best = 0.0
    for _ in range(10):
        wait_for(device)
        start = time.perf_counter()
        for _ in range(10):
            matrix @ matrix
        wait_for(device)
        best = max(best, 10 * 2 * size**3 / (time.perf_counter() - start))
    return {"matmul_flops": best, "matmul_size": size}


def _device(rate: dict[str, float]) -> dict[str, Any]:
    import diffusers
    import torch

    from service.workers.device import find_device, gpu_name

    return {
        "card": gpu_name(find_device()) or f"cpu-{platform.machine()}",
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        **rate,
    }


def _median(timings: list[ClipTimings]) -> ClipTimings:
    rows = [asdict(timing) for timing in timings]
    return ClipTimings(
        **{stage: statistics.median(row[stage] for row in rows) for stage in rows[0]}
    )


def _on_gpu(call: Callable[[Any], Any]) -> Any:
    import torch

    return call(torch.cuda) if torch.cuda.is_available() else None


def _reset_peak() -> None:
    _on_gpu(lambda cuda: cuda.reset_peak_memory_stats())


def _peak_gb() -> float | None:
    return _on_gpu(lambda cuda: cuda.max_memory_allocated() / 1e9)


def _drop_page_cache(folder: Path) -> bool:
    """Drop these files from the page cache; return False where that is not supported."""
    if not hasattr(os, "posix_fadvise"):
        return False
    for file in filter(Path.is_file, folder.rglob("*")):
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return True


def _save(out: Path, device: dict[str, Any], part: str, result: dict[str, Any]) -> None:
    """Add the result to the file of this card and day."""
    name = re.sub(r"[^a-z0-9]+", "-", device["card"].lower()).strip("-")
    target = out / f"{name}-{datetime.now(UTC):%Y-%m-%d}.json"
    out.mkdir(parents=True, exist_ok=True)
    results = json.loads(target.read_text()) if target.exists() else {}
    results |= {"device": device, part: result}
    target.write_text(json.dumps(results, indent=2) + "\n")
    target.with_suffix(".svg").write_text(bars(f"One clip on {device['card']}", _rows(results)))
    print(f"{part}: {json.dumps(_figures(result), indent=2)}\n-> {target}", flush=True)


def _rows(results: dict[str, Any]) -> dict[str, dict[str, float]]:
    rows: dict[str, dict[str, float]] = {}
    for part in MODELS:
        result = results.get(part)
        if result:
            rows[f"{part}, default"] = _stages(result["ours"]["median"])
            rows[f"{part}, eager"] = _stages(result["ours_eager"]["median"])
            if result["bare_seconds"]:
                rows[f"{part}, bare pipeline"] = {"bare": result["bare_seconds"]}
    for setting, result in results.get("settings", {}).items():
        if "median" in result:
            rows[f"ltx-2b, {setting}"] = _stages(result["median"])
    return rows


def _stages(clip: dict[str, float]) -> dict[str, float]:
    stages = {stage: clip[stage] for stage in STAGES}
    return {**stages, "rest": max(0.0, clip["total"] - sum(stages.values()))}


def _figures(result: dict[str, Any]) -> dict[str, Any]:
    """Return the figures without the request and the settings."""
    return {name: value for name, value in result.items() if name not in ("request", "made_with")}


if __name__ == "__main__":
    raise SystemExit(main())
