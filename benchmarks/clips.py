"""Measure one clip by stage, made by the worker's recipe or by the bare pipeline."""

import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from service.artifacts.files import Files
from service.domain.attempt import Profile, Stage, Ticket
from service.domain.models.card import ModelCard
from service.domain.models.tuning import Tuning
from service.domain.request import VideoRequest
from service.workers.adapters.base import NO_CONDITIONS
from service.workers.adapters.diffusion import DiffusionAdapter
from service.workers.adapters.registry import make_adapter
from service.workers.device import find_device, wait_for
from service.workers.recipe import WorkerEnvironment, make_video
from service.workers.stages.encode import encode_command


@dataclass(frozen=True)
class Subject:
    """A model to measure: its card, and its weights or a function that assembles random ones."""

    card: ModelCard
    request: VideoRequest
    folder: Path | None = None
    assemble: Any = None

    def adapter(self, tuning: Tuning) -> DiffusionAdapter:
        """Create the adapter, not yet loaded."""
        adapter = make_adapter(self.card, self.folder or Path(), tuning)
        assert isinstance(adapter, DiffusionAdapter)
        if self.assemble is not None:
            device, assemble = find_device(), self.assemble
            adapter.assemble = lambda _parts, dtype: assemble(adapter, dtype, device)
        return adapter

    def prompt(self, number: int) -> VideoRequest:
        """Return the request with a different prompt of equal length for each number."""
        return self.request.model_copy(update={"prompt": f"{self.request.prompt}, take {number:3}"})


@dataclass(frozen=True)
class ClipTimings:
    """Seconds of each stage of one clip; `step` is the median of the denoising steps."""

    text: float
    step: float
    denoise: float
    decode: float
    encode: float
    total: float


def time_clip(adapter: DiffusionAdapter, request: VideoRequest, folder: Path) -> ClipTimings:
    """Time the worker's recipe from a ticket to the finished MP4."""
    marks: list[tuple[Stage, int, float]] = []

    def on_step(stage: Stage, step: int, _total: int) -> None:
        marks.append((stage, step, time.perf_counter()))

    ticket = _ticket(adapter.card, request)
    environment = WorkerEnvironment(Files(folder / "artifacts"), folder)
    with _time_text_encoder(adapter) as text:
        start = time.perf_counter()
        outcome = make_video(ticket, adapter, environment, f"jobs/{start}", on_step)
        total = time.perf_counter() - start
    steps = [seconds for stage, _, seconds in marks if stage is Stage.GENERATE]
    decode = [seconds for stage, _, seconds in marks if stage is Stage.DECODE]
    load_end = marks[0][2]  # the prompt and the first step follow
    gaps = [later - earlier for earlier, later in pairwise(steps)]
    return ClipTimings(
        text=sum(text),
        step=statistics.median(gaps),
        denoise=steps[-1] - load_end - sum(text),
        decode=decode[1] - decode[0],
        encode=outcome.timings_ms["encode"] / 1000,
        total=total,
    )


def time_bare(adapter: DiffusionAdapter, request: VideoRequest, folder: Path) -> float:
    """Time only the plain pipeline call, and ffmpeg with the service's command."""
    import numpy as np
    import torch

    pipe = adapter.pipe
    generator = torch.Generator("cpu").manual_seed(request.seed)
    start = time.perf_counter()
    frames = pipe(**_pipeline_arguments(adapter, request, generator), generator=generator).frames[0]
    levels = (frames * 255).round().astype(np.uint8)
    command = encode_command(request, folder / "bare.mp4", {})
    subprocess.run(command, input=levels.tobytes(), check=True)
    return time.perf_counter() - start


def _pipeline_arguments(
    adapter: DiffusionAdapter, request: VideoRequest, generator: Any
) -> dict[str, Any]:
    """Return the arguments with which each pipeline makes the adapter's clip."""
    arguments = {
        "prompt": request.prompt,
        "width": request.width,
        "height": request.height,
        "num_frames": request.num_frames,
        "guidance_scale": request.guidance_scale,
        "max_sequence_length": adapter.max_tokens,
        "output_type": "np",
    }
    if adapter.card.name == "ltx-2b":
        from service.workers.adapters.ltx import DECODE_NOISE_SCALE, DECODE_TIMESTEP, TIMESTEPS

        decode = {"decode_timestep": DECODE_TIMESTEP, "decode_noise_scale": DECODE_NOISE_SCALE}
        return {**arguments, **decode, "timesteps": TIMESTEPS, "frame_rate": request.fps}
    from service.workers.adapters.wan import SIGMAS

    adapter.pipe.scheduler.begin(SIGMAS, generator)
    return {**arguments, "num_inference_steps": request.num_inference_steps}


@contextmanager
def loaded_adapter(
    subject: Subject, tuning: Tuning, profile: Profile = Profile.FULL
) -> Iterator[Any]:
    """Yield the subject's adapter, loaded; leaving the block frees its memory."""
    adapter = subject.adapter(tuning)
    try:
        adapter.load(profile)
        yield adapter
    finally:
        adapter.unload()


def work_folder() -> Any:
    return tempfile.TemporaryDirectory(prefix="rushes-bench-")


@contextmanager
def _time_text_encoder(adapter: DiffusionAdapter) -> Iterator[list[float]]:
    """Yield a list of the seconds of each call; it stays empty when the prompt is cached."""
    calls: list[float] = []
    start = 0.0
    adapter.load()  # the hooks need the encoder

    def before(*_: Any) -> None:
        nonlocal start
        wait_for(adapter._device)
        start = time.perf_counter()

    def after(*_: Any) -> None:
        wait_for(adapter._device)
        calls.append(time.perf_counter() - start)

    encoder = adapter.pipe.text_encoder
    hooks = [encoder.register_forward_pre_hook(before), encoder.register_forward_hook(after)]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def flops(adapter: DiffusionAdapter, request: VideoRequest) -> int:
    """Count the FLOP of one whole clip; the model must be eager."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        list(adapter.generate(request, NO_CONDITIONS, lambda *_: None).frames)
    return int(counter.get_total_flops())


def _ticket(card: ModelCard, request: VideoRequest) -> Ticket:
    return Ticket(
        job_id="benchmark",
        attempt=1,
        fence=1,
        token="-",
        request=request,
        card=card,
        api_url="http://127.0.0.1",
    )
