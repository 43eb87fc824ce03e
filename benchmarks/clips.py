"""One clip of a model measured by stage, the recipe's own way and the bare pipeline's."""

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
from service.domain.attempt import Stage, Ticket
from service.domain.models.card import ModelCard
from service.domain.models.tuning import Profile, Tuning
from service.domain.request import VideoRequest
from service.workers.adapters.base import NO_CONDITIONS
from service.workers.adapters.diffusion import DiffusionAdapter
from service.workers.adapters.registry import make_adapter
from service.workers.device import find_device, wait_for
from service.workers.recipe import WorkerEnvironment, make_video
from service.workers.stages.encode import _command


@dataclass(frozen=True)
class Subject:
    """A model to measure: its card, where its weights are, or what stands in for reading them."""

    card: ModelCard
    request: VideoRequest
    folder: Path | None = None
    assemble: Any = None

    def adapter(self, levers: Tuning) -> DiffusionAdapter:
        """Not yet loaded."""
        adapter = make_adapter(self.card, self.folder or Path(), levers)
        assert isinstance(adapter, DiffusionAdapter)
        if self.assemble is not None:
            device, assemble = find_device(), self.assemble
            adapter.assemble = lambda _parts, dtype: assemble(adapter, dtype, device)
        return adapter

    def prompt(self, number: int) -> VideoRequest:
        """The request with a prompt that was not asked for yet, and just as long."""
        return self.request.model_copy(update={"prompt": f"{self.request.prompt}, take {number:3}"})


@dataclass(frozen=True)
class Clip:
    """Seconds of each stage of one clip. `step` is one of the denoising steps, the median."""

    text: float
    step: float
    denoise: float
    decode: float
    encode: float
    total: float


def clip(adapter: DiffusionAdapter, request: VideoRequest, folder: Path) -> Clip:
    """From a ticket to the finished MP4, through the recipe of the workers."""
    marks: list[tuple[Stage, int, float]] = []

    def on_step(stage: Stage, done: int, _of: int) -> None:
        marks.append((stage, done, time.perf_counter()))

    ticket, bench = (
        _ticket(adapter.card, request),
        WorkerEnvironment(Files(folder / "artifacts"), folder),
    )
    with _text_encoder(adapter) as text:
        began = time.perf_counter()
        outcome = make_video(ticket, adapter, bench, f"jobs/{began}", on_step)
        total = time.perf_counter() - began
    at = [seconds for stage, _, seconds in marks if stage is Stage.GENERATE]
    decode = [seconds for stage, _, seconds in marks if stage is Stage.DECODE]
    loaded = marks[0][2]  # the model was there: what follows is the prompt and the first step
    gaps = [later - earlier for earlier, later in pairwise(at)]
    return Clip(
        text=sum(text),
        step=statistics.median(gaps),
        denoise=at[-1] - loaded - sum(text),
        decode=decode[1] - decode[0],
        encode=outcome.timings_ms["encode"] / 1000,
        total=total,
    )


def bare(adapter: DiffusionAdapter, request: VideoRequest, folder: Path) -> float:
    """Seconds of the plain pipeline call and of ffmpeg with our very command, and nothing else."""
    import numpy as np
    import torch

    pipe = adapter.pipe
    generator = torch.Generator("cpu").manual_seed(request.seed)
    began = time.perf_counter()
    frames = pipe(**_call(adapter, request, generator), generator=generator).frames[0]
    levels = (frames * 255).round().astype(np.uint8)
    command = _command(request, folder / "bare.mp4", {})
    subprocess.run(command, input=levels.tobytes(), check=True)
    return time.perf_counter() - began


def _call(adapter: DiffusionAdapter, request: VideoRequest, generator: Any) -> dict[str, Any]:
    """What each of these pipelines is to be told so that it makes the adapter's clip."""
    said = {
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
        return {**said, **decode, "timesteps": TIMESTEPS, "frame_rate": request.fps}
    from service.workers.adapters.wan import SIGMAS

    adapter.pipe.scheduler.begin(SIGMAS, generator)
    return {**said, "num_inference_steps": request.num_inference_steps}


@contextmanager
def loaded(subject: Subject, levers: Tuning, profile: Profile = Profile.FULL) -> Iterator[Any]:
    """The subject's adapter where it runs; its memory is free afterwards."""
    adapter = subject.adapter(levers)
    try:
        adapter.load(profile)
        yield adapter
    finally:
        adapter.unload()


def work_folder() -> Any:
    return tempfile.TemporaryDirectory(prefix="rushes-bench-")


@contextmanager
def _text_encoder(adapter: DiffusionAdapter) -> Iterator[list[float]]:
    """The seconds of each of its calls; none when the prompt is remembered."""
    spent: list[float] = []
    began = 0.0
    adapter.load()  # so that there is an encoder to watch; a no-op where it is loaded already

    def before(*_: Any) -> None:
        nonlocal began
        wait_for(adapter._device)
        began = time.perf_counter()

    def after(*_: Any) -> None:
        wait_for(adapter._device)
        spent.append(time.perf_counter() - began)

    encoder = adapter.pipe.text_encoder
    hooks = [encoder.register_forward_pre_hook(before), encoder.register_forward_hook(after)]
    try:
        yield spent
    finally:
        for hook in hooks:
            hook.remove()


def flops(adapter: DiffusionAdapter, request: VideoRequest) -> int:
    """Of one whole clip, counted while it is made; the model must be eager."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        list(adapter.generate(request, NO_CONDITIONS, lambda *_: None))
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
