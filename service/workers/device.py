"""What torch runs on here: which accelerator there is, and what it means to run out of its memory.

Torch is imported inside, so that a worker of the sandbox needs none.
"""

import gc
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from service.domain.attempt import AttemptFailed, FailureKind
from service.domain.models.card import ModelCard
from service.domain.models.tuning import Profile

if TYPE_CHECKING:
    import torch


def find_device() -> "torch.device":
    """CUDA before Apple's MPS before the CPU."""
    import torch

    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def best_dtype(device: "torch.device") -> "torch.dtype":
    """Never float16, which T5 overflows. A CPU gains nothing from bfloat16 but its rounding."""
    import torch

    return torch.float32 if device.type == "cpu" else torch.bfloat16


def gpu_name(device: "torch.device") -> str | None:
    """As its maker calls it; None on a CPU."""
    import torch

    names = {"cuda": torch.cuda.get_device_name, "mps": torch.backends.mps.get_name}
    return str(names[device.type]()) if device.type in names else None


def place(
    pipe: Any, device: "torch.device", card: ModelCard, profile: Profile = Profile.FULL
) -> str:
    """Bring a diffusers pipeline to the device: whole where it fits, else each part when it works.

    The parts then wait in the main memory, and every clip pays for moving them. A pipeline that
    is placed already can be placed otherwise. Answers in a word how it was placed.
    """
    if device.type == "cuda" and (profile is Profile.SMALL or not fits(card, memory_of(device))):
        pipe.enable_model_cpu_offload(device=device)
        return "part by part"
    pipe.remove_all_hooks()
    pipe.to(device)
    return "whole"


def memory_of(device: "torch.device") -> int:
    """Bytes on a CUDA device, free or not."""
    import torch

    return int(torch.cuda.mem_get_info(device)[1])


def empty_cache() -> None:
    """What torch keeps for later goes back to the device."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def release_memory() -> None:
    """The memory of a model that nobody uses any more is free: its parts name each other, so that
    Python would keep them until it next looks."""
    gc.collect()
    if "torch" in sys.modules:
        empty_cache()


def fits(card: ModelCard, memory: int) -> bool:
    """Whether a device with `memory` bytes holds all parts of the model, and its work, at once."""
    return card.gpu_memory_gb is None or memory >= card.gpu_memory_gb * 1e9


def wait_for(device: "torch.device") -> None:
    """A GPU runs behind Python; come back when it has done what it was given."""
    import torch

    torch.get_device_module(device).synchronize()


@contextmanager
def out_of_memory(message: str) -> Iterator[None]:
    """Running out of the device's memory within raises AttemptFailed with `message`."""
    try:
        yield
    except RuntimeError as exc:
        if not is_out_of_memory(exc):
            raise
        # The traceback holds every tensor that was alive inside the model: let go of them now,
        # not when the failure has been reported.
        traceback.clear_frames(exc.__traceback__)
        raise AttemptFailed(FailureKind.OOM, "out_of_memory", message) from exc


def is_out_of_memory(exc: RuntimeError) -> bool:
    import torch

    # CUDA has a type for it; MPS and the CPU say it in words.
    words = ("MPS backend out of memory", "DefaultCPUAllocator: ")
    return isinstance(exc, torch.OutOfMemoryError) or any(word in str(exc) for word in words)
