"""The accelerator that torch runs on: selection, placement of models, and out-of-memory errors.

Torch is imported inside functions, so that the sandbox does not need it.
"""

import gc
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from service.domain.attempt import AttemptFailed, FailureKind, Profile
from service.domain.models.card import ModelCard

if TYPE_CHECKING:
    import torch


def find_device() -> "torch.device":
    """Select CUDA, else Apple's MPS, else the CPU."""
    import torch

    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def best_dtype(device: "torch.device") -> "torch.dtype":
    """Return bfloat16, or float32 on a CPU; never float16, in which T5 overflows."""
    import torch

    return torch.float32 if device.type == "cpu" else torch.bfloat16


def gpu_name(device: "torch.device") -> str | None:
    """Return the accelerator's product name; None on a CPU."""
    import torch

    names = {"cuda": torch.cuda.get_device_name, "mps": torch.backends.mps.get_name}
    return str(names[device.type]()) if device.type in names else None


def place(
    pipe: Any, device: "torch.device", card: ModelCard, profile: Profile = Profile.FULL
) -> str:
    """Move a diffusers pipeline to the device, whole where it fits, else with CPU offload.

    With offload, components wait in main memory, and every clip takes longer. A pipeline can be
    placed again with another profile. Returns "whole" or "part by part".
    """
    if device.type == "cuda" and (profile is Profile.SMALL or not fits(card, memory_of(device))):
        pipe.enable_model_cpu_offload(device=device)
        return "part by part"
    pipe.remove_all_hooks()
    pipe.to(device)
    return "whole"


def memory_of(device: "torch.device") -> int:
    """Return the total bytes of a CUDA device, free or not."""
    import torch

    return int(torch.cuda.mem_get_info(device)[1])


def empty_cache() -> None:
    """Return memory that torch caches to the device."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def release_memory() -> None:
    """Free the memory of unreferenced models, whose components form reference cycles."""
    gc.collect()
    if "torch" in sys.modules:
        empty_cache()


def fits(card: ModelCard, memory: int) -> bool:
    """Check that the model and its working memory fit a device of `memory` bytes."""
    return card.gpu_memory_gb is None or memory >= card.gpu_memory_gb * 1e9


def wait_for(device: "torch.device") -> None:
    """Block until the device has finished its queued work."""
    import torch

    torch.get_device_module(device).synchronize()


@contextmanager
def out_of_memory(message: str) -> Iterator[None]:
    """Turn running out of device memory inside the block into AttemptFailed with `message`."""
    try:
        yield
    except RuntimeError as exc:
        if not is_out_of_memory(exc):
            raise
        # The traceback references every tensor that was alive inside the model: free them now,
        # before the failure is reported.
        traceback.clear_frames(exc.__traceback__)
        raise AttemptFailed(FailureKind.OOM, "out_of_memory", message) from exc


def is_out_of_memory(exc: RuntimeError) -> bool:
    import torch

    # CUDA has an exception type for it; MPS and the CPU only a message.
    messages = ("MPS backend out of memory", "DefaultCPUAllocator: ")
    return isinstance(exc, torch.OutOfMemoryError) or any(text in str(exc) for text in messages)
