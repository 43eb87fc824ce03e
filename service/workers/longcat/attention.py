"""The part of `flash_attn` that LongCat calls, over torch's own attention.

LongCat knows no other kernel, and flash-attn has to be compiled for each version of torch and CUDA,
while torch has kernels of this kind of its own.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_NAME = "flash_attn"


def provide_attention(module: Any) -> str:
    """Let a module's `forward` import `flash_attn`, and return the kernel's name.

    An installed flash-attn is used. Else the stand-in is there during `forward` alone: other
    libraries look for flash-attn too, and would take it for the whole.
    """
    if find_spec(_NAME) is not None:
        return _NAME
    module.forward = _with_stand_in(module.forward)
    return "torch"


def _with_stand_in(forward: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(forward)
    def run(*args: Any, **kwargs: Any) -> Any:
        with _stand_in():
            return forward(*args, **kwargs)

    return run


@contextmanager
def _stand_in() -> Iterator[None]:
    module = ModuleType(_NAME)
    module.flash_attn_func = flash_attn_func  # type: ignore[attr-defined]
    module.flash_attn_varlen_func = flash_attn_varlen_func  # type: ignore[attr-defined]
    sys.modules[_NAME] = module
    try:
        yield
    finally:
        del sys.modules[_NAME]


def flash_attn_func(
    q: "torch.Tensor",
    k: "torch.Tensor",
    v: "torch.Tensor",
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
) -> "torch.Tensor":
    """Attend from q to k and v, each (batch, tokens, heads, size), and return the shape of q."""
    from torch.nn.functional import scaled_dot_product_attention

    # torch has the heads in front of the tokens.
    result: torch.Tensor = scaled_dot_product_attention(
        q.transpose(1, 2),
        k.transpose(1, 2),
        v.transpose(1, 2),
        dropout_p=dropout_p,
        scale=softmax_scale,
    ).transpose(1, 2)
    return result


def flash_attn_varlen_func(
    q: "torch.Tensor",
    k: "torch.Tensor",
    v: "torch.Tensor",
    cu_seqlens_q: "torch.Tensor",
    cu_seqlens_k: "torch.Tensor",
    **_max_seqlens: int,
) -> "torch.Tensor":
    """Attend within each of several sequences, which lie one behind the other: (tokens, heads,
    size). Sequence n has the tokens from `cu_seqlens[n]` to `cu_seqlens[n + 1]`."""
    import torch

    queries, keys = (seqlens.diff().tolist() for seqlens in (cu_seqlens_q, cu_seqlens_k))
    sequences = zip(q.split(queries), k.split(keys), v.split(keys), strict=True)
    return torch.cat([flash_attn_func(*(t[None] for t in each))[0] for each in sequences])
