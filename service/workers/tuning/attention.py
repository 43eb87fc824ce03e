"""Selection of the kernel that computes self-attention."""

from typing import TYPE_CHECKING, Any

from service.workers.tuning.unavailable import setting_unavailable

if TYPE_CHECKING:
    import torch

NATIVE = "native"


def choose_attention(transformer: Any, name: str, device: "torch.device") -> str:
    """Set the kernel of every self-attention of `transformer`; return the one in use.

    A model that attends to clip and prompt in one masked attention keeps torch's own kernel. The
    model's `set_attention_backend` is not used: it also sets cross-attention, whose mask in
    LTX-Video most kernels reject, and it applies to the whole process, including models loaded
    later. Raises AttemptFailed when the kernel is not available.
    """
    if name == NATIVE:
        return name
    kernel = _find_kernel(name)
    modules = [m for path, m in transformer.named_modules() if path.endswith(".attn1")]
    if not modules or not all(hasattr(m.processor, "_attention_backend") for m in modules):
        return f"{NATIVE}: this model has no separate self-attention"
    _run_once(kernel, modules[0], device, transformer.dtype)
    for module in modules:
        module.set_attention_backend(name)
    return name


def _find_kernel(name: str) -> Any:
    from diffusers.models import attention_dispatch as kernels

    names = sorted(kernel.value for kernel in kernels.AttentionBackendName)
    if name not in names:
        raise setting_unavailable("ATTENTION", name, f"choose from {', '.join(names)}")
    kernel = kernels.AttentionBackendName(name)
    try:
        kernels._check_attention_backend_requirements(kernel)
        # Kernels named …_hub are downloaded unless they are installed already.
        kernels._maybe_download_kernel_for_backend(kernel)
    except Exception as fault:
        raise _unavailable(name, fault) from fault
    return kernel


def _run_once(kernel: Any, attention: Any, device: "torch.device", dtype: "torch.dtype") -> None:
    """Run the kernel once: an installed kernel may not run on this device."""
    import torch
    from diffusers.models.attention_dispatch import dispatch_attention_fn

    size = (1, 128, attention.heads, attention.inner_dim // attention.heads)
    zeros = torch.zeros(size, device=device, dtype=dtype)
    try:
        with torch.inference_mode():
            dispatch_attention_fn(zeros, zeros, zeros, backend=kernel)
    except Exception as fault:
        raise _unavailable(kernel.value, fault) from fault


def _unavailable(name: str, fault: Exception) -> Exception:
    return setting_unavailable("ATTENTION", name, str(fault).partition("\n")[0])
