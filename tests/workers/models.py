"""Requests, inputs and adapters of the real models at their tiny size."""

import gc
from pathlib import Path
from typing import Any

import numpy as np

from service.domain.attempt import Profile, Stage
from service.domain.models.catalog import CARDS
from service.domain.models.tuning import DEFAULT_TUNING, Tuning
from service.domain.request import VideoRequest
from service.workers.adapters.base import NO_CONDITIONS, Conditions, Frame, Frames, OnStep
from service.workers.adapters.diffusion import DiffusionAdapter
from service.workers.adapters.registry import make_adapter

WIDTH, HEIGHT = 96, 64


def request_of(model: str, **changes: Any) -> VideoRequest:
    """A short clip, with fewer steps than the door lets through where they are free."""
    card = CARDS[model]
    values: dict[str, Any] = {
        "model": model,
        "prompt": "a red ball",
        "width": WIDTH,
        "height": HEIGHT,
        "num_frames": 2 * card.frames.step + 1,
        "fps": card.default_fps,
        "num_inference_steps": card.steps.low if card.steps.low == card.steps.high else 4,
        "guidance_scale": card.default_guidance,
        "seed": 7,
        "strength": card.default_strength,
    }
    return VideoRequest(**{**values, **changes})


def loaded(
    model: str,
    folder: Path,
    tuning: Tuning = DEFAULT_TUNING,
    profile: Profile = Profile.FULL,
) -> DiffusionAdapter:
    import torch

    torch.set_num_threads(1)
    adapter = make_adapter(CARDS[model], folder, tuning)
    assert isinstance(adapter, DiffusionAdapter)
    adapter.load(profile)
    return adapter


def no_report(stage: Stage, done: int, of: int) -> None:
    pass


def render(
    adapter: DiffusionAdapter,
    conditions: Conditions = NO_CONDITIONS,
    on_step: OnStep = no_report,
    **changes: Any,
) -> list[Frame]:
    request = request_of(adapter.card.name, **changes)
    return list(adapter.generate(request, conditions, on_step).frames)


def film(frames: int, seed: int = 0) -> Frames:
    """A bright square that moves over a dark ground, which no random model would draw."""
    rng = np.random.default_rng(seed)
    ground = rng.integers(0, 90, (HEIGHT // 8, WIDTH // 8, 3)).repeat(8, 0).repeat(8, 1)
    made = np.broadcast_to(ground, (frames, HEIGHT, WIDTH, 3)).astype(np.uint8).copy()
    for index, frame in enumerate(made):
        at = (11 * seed + 3 * index) % (WIDTH - 24)
        frame[20:44, at : at + 24] = 250
    return made


def conditions_for(feature: str, request: VideoRequest, seed: int = 0) -> Conditions:
    """Inputs that the feature follows, as different as their seeds."""
    pictures = film(request.num_frames, seed)
    tail = CARDS[request.model].frames.step + 1
    return {
        "text-to-video": NO_CONDITIONS,
        "image-to-video": Conditions(image=pictures[0]),
        "last-image": Conditions(last_image=pictures[0]),
        "keyframes": Conditions(keyframes=((CARDS[request.model].frames.step, pictures[0]),)),
        "video-to-video": Conditions(video=pictures),
        "continuation": Conditions(tail=pictures[:tail]),
    }[feature]


def bytes_in_tensors() -> int:
    """What all tensors that are alive hold, views of one storage counted once."""
    import torch

    gc.collect()
    tensors = [
        each for each in gc.get_objects() if type(each) in (torch.Tensor, torch.nn.Parameter)
    ]
    return sum(
        {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values()
    )
