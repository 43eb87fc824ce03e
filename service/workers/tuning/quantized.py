"""Quantization of a transformer's weights to eight bits, for memory and on some GPUs for speed."""

import warnings
from typing import TYPE_CHECKING, Any

from service.domain.models.tuning import Quantize
from service.installation import install_command
from service.workers.tuning.unavailable import setting_unavailable

if TYPE_CHECKING:
    import torch

_ADA = (8, 9)  # the first GPUs that multiply in float8
_FLOAT8 = ("float8", "float8-weights")


def quantize(transformer: Any, mode: Quantize, device: "torch.device") -> None:
    """Quantize the linear layers of the blocks; input and output layers keep their precision.

    `float8` multiplies in float8; the other modes only shrink the weights.
    """
    if mode == "off":
        return
    _check(mode, device)
    if mode == "float8-storage":
        import torch

        transformer.enable_layerwise_casting(
            storage_dtype=torch.float8_e4m3fn, compute_dtype=transformer.dtype
        )
        return
    with warnings.catch_warnings():
        # torchao's docstrings contain invalid escapes, about which Python warns.
        warnings.simplefilter("ignore")
        try:
            from torchao.quantization import quantize_
        except ImportError:
            fix = f"it needs torchao; {install_command('quantize')} installs it"
            raise setting_unavailable("QUANTIZE", mode, fix) from None
        quantize_(transformer, _config(mode), filter_fn=_in_block, device=device)


def _check(mode: Quantize, device: "torch.device") -> None:
    import torch

    if mode.startswith("float8") and device.type == "mps":
        raise setting_unavailable("QUANTIZE", mode, "Apple's GPUs do not support float8")
    is_old = device.type == "cuda" and torch.cuda.get_device_capability(device) < _ADA
    # Triton has no kernel for float8 weights on older GPUs either.
    if (mode == "float8" and device.type == "cpu") or (mode in _FLOAT8 and is_old):
        raise setting_unavailable(
            "QUANTIZE", mode, "it needs a GPU of Ada or Hopper, or a later one"
        )


def _config(mode: Quantize) -> Any:
    from torchao import quantization

    return {
        "float8": quantization.Float8DynamicActivationFloat8WeightConfig,
        "float8-weights": quantization.Float8WeightOnlyConfig,
        "int8-weights": quantization.Int8WeightOnlyConfig,
    }[mode]()


def _in_block(module: Any, path: str) -> bool:
    import torch

    return isinstance(module, torch.nn.Linear) and "blocks." in path
