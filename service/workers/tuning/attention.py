"""Another kernel for self-attention, which is where the tokens of a clip meet each other."""

from typing import TYPE_CHECKING, Any

from service.workers.tuning.refused import refused

if TYPE_CHECKING:
    import torch

NATIVE = "native"


def choose_attention(transformer: Any, name: str, device: "torch.device") -> str:
    """Have every self-attention of `transformer` computed by the kernel of this name.

    A model whose clip and prompt meet in one masked attention keeps torch's own; answers which it
    is. Not by the model's own `set_attention_backend`: it also chooses for cross-attention, which
    in LTX-Video has a mask that most kernels refuse, and for the whole process, so that a model
    which is loaded later would use it too. Raises AttemptFailed where there is no such kernel.
    """
    if name == NATIVE:
        return name
    kernel = _find(name)
    selves = [m for path, m in transformer.named_modules() if path.endswith(".attn1")]
    if not selves or not all(hasattr(m.processor, "_attention_backend") for m in selves):
        return f"{NATIVE}: this model's self-attention is not one of its own"
    _try(kernel, selves[0], device, transformer.dtype)
    for module in selves:
        module.set_attention_backend(name)
    return name


def _find(name: str) -> Any:
    from diffusers.models import attention_dispatch as kernels

    known = sorted(kernel.value for kernel in kernels.AttentionBackendName)
    if name not in known:
        raise refused("ATTENTION", name, f"there is {', '.join(known)}")
    kernel = kernels.AttentionBackendName(name)
    try:
        kernels._check_attention_backend_requirements(kernel)
        # Those called …_hub are fetched, unless they are here already.
        kernels._maybe_download_kernel_for_backend(kernel)
    except Exception as fault:
        raise _refused(name, fault) from fault
    return kernel


def _try(kernel: Any, attention: Any, device: "torch.device", dtype: "torch.dtype") -> None:
    """Not every kernel that is installed runs here: that is to be known before the first clip."""
    import torch
    from diffusers.models.attention_dispatch import dispatch_attention_fn

    size = (1, 128, attention.heads, attention.inner_dim // attention.heads)
    some = torch.zeros(size, device=device, dtype=dtype)
    try:
        with torch.inference_mode():
            dispatch_attention_fn(some, some, some, backend=kernel)
    except Exception as fault:
        raise _refused(kernel.value, fault) from fault


def _refused(name: str, fault: Exception) -> Exception:
    return refused("ATTENTION", name, str(fault).partition("\n")[0])
