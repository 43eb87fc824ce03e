"""Another kernel for self-attention, which is where the tokens of a clip meet each other."""

from typing import Any

from service.workers.levers.refused import refused

NATIVE = "native"


def choose_attention(transformer: Any, name: str) -> str:
    """Have every self-attention of `transformer` computed by the kernel of this name.

    A model whose clip and prompt meet in one masked attention keeps torch's own; answers which it
    is. Not by the model's own `set_attention_backend`: it also chooses for cross-attention, which
    in LTX-Video has a mask that most kernels refuse, and for the whole process, so that a model
    which is loaded later would use it too.
    """
    if name == NATIVE:
        return name
    _check(name)
    selves = [m for path, m in transformer.named_modules() if path.endswith(".attn1")]
    if not selves or not all(hasattr(m.processor, "_attention_backend") for m in selves):
        return f"{NATIVE}: this model's self-attention is not one of its own"
    for module in selves:
        module.set_attention_backend(name)
    return name


def _check(name: str) -> None:
    from diffusers.models import attention_dispatch as kernels

    known = sorted(backend.value for backend in kernels.AttentionBackendName)
    if name not in known:
        raise refused("ATTENTION", name, f"there is {', '.join(known)}")
    backend = kernels.AttentionBackendName(name)
    try:
        kernels._check_attention_backend_requirements(backend)
        # Those called …_hub are fetched, unless they are here already.
        kernels._maybe_download_kernel_for_backend(backend)
    except Exception as fault:
        raise refused("ATTENTION", name, str(fault).partition("\n")[0]) from fault
