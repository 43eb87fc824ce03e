"""A transformer's weights in eight bits: for speed where the GPU multiplies them, else for room."""

import warnings
from typing import TYPE_CHECKING, Any

from service.domain.models.tuning import Quantize
from service.installation import install_command
from service.workers.tuning.refused import refused

if TYPE_CHECKING:
    import torch

_ADA = (8, 9)  # the first that multiplies in float8
_FLOAT8 = ("float8", "float8-weights")


def quantize(transformer: Any, how: Quantize, device: "torch.device") -> None:
    """`float8` multiplies in float8; the others only keep the weights small.

    Only the linear layers of the blocks: what goes in and out of the model keeps its precision.
    """
    if how == "off":
        return
    _check(how, device)
    if how == "float8-storage":
        import torch

        transformer.enable_layerwise_casting(
            storage_dtype=torch.float8_e4m3fn, compute_dtype=transformer.dtype
        )
        return
    with warnings.catch_warnings():
        # Its docstrings hold escapes that Python is about to refuse.
        warnings.simplefilter("ignore")
        try:
            from torchao.quantization import quantize_
        except ImportError:
            fix = f"it needs torchao; {install_command('quantize')} installs it"
            raise refused("QUANTIZE", how, fix) from None
        quantize_(transformer, _config(how), filter_fn=_in_block, device=device)


def _check(how: Quantize, device: "torch.device") -> None:
    import torch

    if how.startswith("float8") and device.type == "mps":
        raise refused("QUANTIZE", how, "Apple's GPUs know no float8")
    old = device.type == "cuda" and torch.cuda.get_device_capability(device) < _ADA
    # On an older GPU Triton has no kernel for the weights in float8 either.
    if (how == "float8" and device.type == "cpu") or (how in _FLOAT8 and old):
        raise refused("QUANTIZE", how, "it needs a GPU of Ada or Hopper, or a later one")


def _config(how: Quantize) -> Any:
    from torchao import quantization as ways

    return {
        "float8": ways.Float8DynamicActivationFloat8WeightConfig,
        "float8-weights": ways.Float8WeightOnlyConfig,
        "int8-weights": ways.Int8WeightOnlyConfig,
    }[how]()


def _in_block(module: Any, path: str) -> bool:
    import torch

    return isinstance(module, torch.nn.Linear) and "blocks." in path
