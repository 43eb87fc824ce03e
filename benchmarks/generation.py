"""How fast the models run on this GPU, by stage, and what each lever of docs/speed.md gains.

`python -m benchmarks.generation --part ltx-2b` (or ltx-13b, wan-fast, levers, load) measures one
part, and adds it to benchmarks/results/<card>-<date>.json with a chart beside it; without `--part`
all of them, one after the other. Real shapes with random weights: nothing is fetched. `--tiny` runs
the same code on the tiny checkpoints of the tests, on a CPU, to see that it works.
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
from benchmarks.clips import Clip, Subject
from benchmarks.real_models import ASSEMBLE
from service.domain.attempt import AttemptFailed
from service.domain.models.catalog import CARDS
from service.domain.models.tuning import DEFAULT_TUNING, Profile, Tuning
from service.domain.request import VideoRequest

RESULTS = Path(__file__).parent / "results"
MODELS = {"ltx-2b": "ltx-2b", "ltx-13b": "ltx-13b", "wan-fast": "wan2.2-5b-fast"}
# A prompt of usual length; a tokenizer of ours has a token for each of its letters.
PROMPT = "A quiet harbour at dawn; gulls circle above the masts, and the first boat leaves"
PLAIN = Tuning(compile="off", embeddings_bytes=0)
STAGES = ("text", "denoise", "decode", "encode")


def main() -> int:
    options = argparse.ArgumentParser()
    options.add_argument("--part", choices=[*MODELS, "levers", "load"])
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--tiny", action="store_true", help="on tiny checkpoints, on a CPU")
    options.add_argument("--out", type=Path, help="the folder for what was measured")
    chosen = options.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    if chosen.tiny:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        os.environ["OMP_NUM_THREADS"] = "1"  # models this small lose by sharing their work
    elif not _has_cuda():
        print("this measures a CUDA GPU, and there is none; --tiny shows that it works without one")
        return 0
    out = chosen.out or (Path("out/benchmarks") if chosen.tiny else RESULTS)
    with clips.work_folder() as folder:
        bench = Benchmark(Path(folder), tiny=chosen.tiny, rounds=chosen.rounds)
        for part in [chosen.part] if chosen.part else [*MODELS, "levers", "load"]:
            _keep(out, bench.device, part, bench.measure(part))
    return 0


def _has_cuda() -> bool:
    import torch

    return bool(torch.cuda.is_available())


class Benchmark:
    def __init__(self, folder: Path, *, tiny: bool, rounds: int) -> None:
        self._folder, self._tiny, self._rounds = folder, tiny, rounds
        self.device = _device(matmul_rate(512 if tiny else 8192))

    def measure(self, part: str) -> dict[str, Any]:
        if part == "levers":
            self._rounds = min(self._rounds, 3)  # there are many, and each loads the model anew
            return self._levers(self.subject("ltx-2b"))
        if part == "load":
            return self._load(self.subject("ltx-2b"))
        return self._model(self.subject(MODELS[part]))

    def subject(self, model: str) -> Subject:
        """The model's default clip; on a tiny checkpoint a tiny one."""
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

    def _model(self, subject: Subject) -> dict[str, Any]:
        """The model as it comes, the same eager, and the bare pipeline, which always is."""
        with clips.loaded(subject, PLAIN) as adapter:
            found = self._clips(adapter, subject)
            eager = {**found, "peak_gb": _peak_gb()}
            counted = clips.flops(adapter, subject.request)
            # Two passes and an upsampler are no single call of any pipeline.
            bare = None if subject.card.name == "ltx-13b" else self._bare(adapter, subject)
        with clips.loaded(subject, DEFAULT_TUNING) as adapter:
            ours = {**self._clips(adapter, subject), "peak_gb": _peak_gb()}
            made_with = adapter.made_with
        floor = counted / self.device["matmul_flops"]
        busy = sum(ours["median"][stage] for stage in ("text", "denoise", "decode"))
        return {
            "request": subject.request.model_dump(),
            "tflop": counted / 1e12,
            "floor_seconds": floor,
            "share_of_floor": floor / busy,
            "made_with": made_with,
            "ours": ours,
            "ours_eager": eager,
            "bare_seconds": bare,
            "bare_over_ours": bare and bare / ours["median"]["total"],
        }

    def _bare(self, adapter: Any, subject: Subject) -> float:
        return statistics.median(
            clips.bare(adapter, subject.prompt(n), self._folder) for n in range(self._rounds)
        )

    def _clips(self, adapter: Any, subject: Subject) -> dict[str, Any]:
        """The first clip, which is slower, and the median of the others, each with a new prompt."""
        _forget_peak()
        first = clips.clip(adapter, subject.prompt(999), self._folder)
        others = [clips.clip(adapter, subject.prompt(n), self._folder) for n in range(self._rounds)]
        return {"first": asdict(first), "median": asdict(_median(others))}

    def _levers(self, subject: Subject) -> dict[str, Any]:
        """Each lever on its own against none of them, on the same GPU in the same minutes."""
        found = {"none": self._pulled(subject, PLAIN)}
        for name, change in LEVERS.items():
            try:
                found[name] = self._pulled(subject, PLAIN.model_copy(update=change))
            except AttemptFailed as refused:
                found[name] = {"refused": refused.message}
        found["embeddings"] = self._remembered(subject)
        found["small profile"] = self._pulled(subject, PLAIN, Profile.SMALL)
        for each in found.values():
            if "median" in each:
                each["gain"] = found["none"]["median"]["total"] / each["median"]["total"]
        return found

    def _pulled(
        self, subject: Subject, levers: Tuning, profile: Profile = Profile.FULL
    ) -> dict[str, Any]:
        with clips.loaded(subject, levers, profile) as adapter:
            found = self._clips(adapter, subject) if profile is Profile.FULL else None
            if found is None:
                # The recipe asks for the full profile, so only the adapter itself is timed.
                found = self._rendered(adapter, subject)
            return {**found, "peak_gb": _peak_gb(), "made_with": adapter.made_with}

    def _rendered(self, adapter: Any, subject: Subject) -> dict[str, Any]:
        from service.workers.adapters.base import NO_CONDITIONS

        _forget_peak()
        spent = []
        for number in range(self._rounds + 1):
            began = time.perf_counter()
            list(adapter.generate(subject.prompt(number), NO_CONDITIONS, lambda *_: None))
            spent.append(time.perf_counter() - began)
        return {"seconds_to_frames": statistics.median(spent[1:])}

    def _remembered(self, subject: Subject) -> dict[str, Any]:
        levers = PLAIN.model_copy(update={"embeddings_bytes": DEFAULT_TUNING.embeddings_bytes})
        with clips.loaded(subject, levers) as adapter:
            clips.clip(adapter, subject.request, self._folder)
            again = [
                clips.clip(adapter, subject.request, self._folder) for _ in range(self._rounds)
            ]
            return {"median": asdict(_median(again)), "made_with": adapter.made_with}

    def _load(self, subject: Subject) -> dict[str, Any]:
        """From the local disk, its pages forgotten first, to a model that is where it runs."""
        folder = subject.folder or self._folder / "weights"
        if subject.folder is None:
            if shutil.disk_usage(self._folder).free < 40e9:
                return {"skipped": f"no 40 GB free in {self._folder}"}
            with clips.loaded(subject, PLAIN) as adapter:
                adapter.pipe.save_pretrained(folder)
        forgotten = _forget_pages(folder)
        from_disk = Subject(subject.card, subject.request, folder)
        began = time.perf_counter()
        with clips.loaded(from_disk, PLAIN):
            cold = time.perf_counter() - began
        began = time.perf_counter()
        with clips.loaded(from_disk, PLAIN):
            warm = time.perf_counter() - began
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        return {
            "gb": size / 1e9,
            "cold_seconds": cold,
            "pages_forgotten": forgotten,
            "again_seconds": warm,
        }


# Each alone. What a GPU or an installation cannot have is told as refused.
LEVERS: dict[str, dict[str, Any]] = {
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
    """FLOP a second of one large multiplication, the best of several: what no model passes."""
    import torch

    from service.workers.device import best_dtype, find_device, wait_for

    device = find_device()
    one = torch.randn(size, size, device=device).to(best_dtype(device))
    best = 0.0
    for _ in range(10):
        wait_for(device)
        began = time.perf_counter()
        for _ in range(10):
            one @ one
        wait_for(device)
        best = max(best, 10 * 2 * size**3 / (time.perf_counter() - began))
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


def _median(of: list[Clip]) -> Clip:
    rows = [asdict(each) for each in of]
    return Clip(**{stage: statistics.median(row[stage] for row in rows) for stage in rows[0]})


def _on_gpu(act: Callable[[Any], Any]) -> Any:
    import torch

    return act(torch.cuda) if torch.cuda.is_available() else None


def _forget_peak() -> None:
    _on_gpu(lambda cuda: cuda.reset_peak_memory_stats())


def _peak_gb() -> float | None:
    return _on_gpu(lambda cuda: cuda.max_memory_allocated() / 1e9)


def _forget_pages(folder: Path) -> bool:
    """Have the system read these files from the disk the next time; False where it cannot."""
    if not hasattr(os, "posix_fadvise"):
        return False
    for file in filter(Path.is_file, folder.rglob("*")):
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return True


def _keep(out: Path, device: dict[str, Any], part: str, found: dict[str, Any]) -> None:
    """Beside what the other parts found that day on this card."""
    name = re.sub(r"[^a-z0-9]+", "-", device["card"].lower()).strip("-")
    target = out / f"{name}-{datetime.now(UTC):%Y-%m-%d}.json"
    out.mkdir(parents=True, exist_ok=True)
    kept = json.loads(target.read_text()) if target.exists() else {}
    kept |= {"device": device, part: found}
    target.write_text(json.dumps(kept, indent=2) + "\n")
    target.with_suffix(".svg").write_text(bars(f"One clip on {device['card']}", _rows(kept)))
    print(f"{part}: {json.dumps(_told(found), indent=2)}\n-> {target}", flush=True)


def _rows(kept: dict[str, Any]) -> dict[str, dict[str, float]]:
    rows: dict[str, dict[str, float]] = {}
    for part in MODELS:
        found = kept.get(part)
        if found:
            rows[f"{part}, as it comes"] = _cut(found["ours"]["median"])
            rows[f"{part}, eager"] = _cut(found["ours_eager"]["median"])
            if found["bare_seconds"]:
                rows[f"{part}, bare pipeline"] = {"bare": found["bare_seconds"]}
    for lever, found in kept.get("levers", {}).items():
        if "median" in found:
            rows[f"ltx-2b, {lever}"] = _cut(found["median"])
    return rows


def _cut(clip: dict[str, float]) -> dict[str, float]:
    stages = {stage: clip[stage] for stage in STAGES}
    return {**stages, "rest": max(0.0, clip["total"] - sum(stages.values()))}


def _told(found: dict[str, Any]) -> dict[str, Any]:
    """The figures alone."""
    return {name: value for name, value in found.items() if name not in ("request", "made_with")}


if __name__ == "__main__":
    raise SystemExit(main())
