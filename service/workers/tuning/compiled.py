"""Compilation of a transformer's repeated blocks, or a decoder, for a limited number of shapes."""

import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from service.domain.models.tuning import Tuning

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

_AMPERE = (8, 0)  # older GPUs have no bfloat16
_COMPILERS = ("cc", "gcc", "clang")  # Triton builds its launchers with one of them


class CompiledModule:
    """Runs `module` compiled for the first `max_shapes` input shapes, and eager for all others.

    Compiled code treats sizes as constants, which is fastest; each new size costs some seconds of
    compiling. Compiled and eager frames differ by rounding. When the compiler fails, the clip and
    all later ones run eager, and the log has the reason.
    """

    def __init__(self, module: Any, max_shapes: int, compile: Callable[[Any], None]) -> None:
        import torch

        self._max = max_shapes
        self._shapes: set[Any] = set()
        self._has_failed = False
        self.last = "not yet"  # how the last step ran
        # A code object keeps one compilation for each shape, and some for other guards.
        config = torch._dynamo.config
        config.recompile_limit = max(config.recompile_limit, 4 * max_shapes)
        compile(module)
        # On the instance, below the hooks that move it to the GPU and back.
        module.forward = self._limit_shapes(module.forward)

    def _limit_shapes(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(forward)
        def run(*args: Any, **kwargs: Any) -> Any:
            shape = _shape(args, kwargs)
            if self._admits(shape):
                try:
                    return self._record("on", forward(*args, **kwargs))
                except Exception as fault:
                    if not _is_compiler_fault(fault):
                        raise
                    log.error("compiler failed; the model runs eager from now on", exc_info=fault)
                    self._has_failed = True
            with _eager():
                mode = (
                    "failed, eager" if self._has_failed else "eager: more shapes than are compiled"
                )
                return self._record(mode, forward(*args, **kwargs))

        return run

    def _record(self, mode: str, result: Any) -> Any:
        self.last = mode
        return result

    def _admits(self, shape: Any) -> bool:
        if not self._has_failed and len(self._shapes) < self._max:
            self._shapes.add(shape)
        return not self._has_failed and shape in self._shapes


def compile_blocks(transformer: Any) -> None:
    """Compile the repeated blocks, sharing one compilation: it takes seconds."""
    transformer.compile_repeated_blocks(fullgraph=True, dynamic=False)


def compile_whole(module: Any) -> None:
    """Compile a module without repeated blocks as one."""
    import torch

    module.forward = torch.compile(module.forward, dynamic=False)


def off_reason(tuning: Tuning, transformer: Any, device: "torch.device") -> str | None:
    """Return the reason to run eager, or None to compile."""
    if tuning.compile == "off":
        return "off"
    if not getattr(transformer, "_repeated_blocks", None):
        return "off: this model declares no repeated blocks"
    if tuning.quantize == "float8-storage":
        return "off: float8-storage does not compile"
    return None if tuning.compile == "on" else device_off_reason(device)


def device_off_reason(device: "torch.device") -> str | None:
    """Return the reason why this machine cannot compile for `device`, or None."""
    import torch

    if device.type != "cuda":
        return "off: no CUDA GPU"
    if torch.cuda.get_device_capability(device) < _AMPERE:
        return "off: the GPU is older than Ampere"
    if find_spec("triton") is None:
        return "off: no Triton"
    if not any(map(shutil.which, _COMPILERS)):
        return "off: no C compiler"
    return None


def _shape(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return a key of all inputs that may need a separate compilation."""
    import torch

    values = (*args, *(value for _, value in sorted(kwargs.items())))
    return tuple(
        (tuple(value.shape), value.dtype) if isinstance(value, torch.Tensor) else value is None
        for value in values
    )


def _is_compiler_fault(fault: Exception) -> bool:
    from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException

    return isinstance(fault, TorchDynamoException | FailOnRecompileLimitHit)


@contextmanager
def _eager() -> Iterator[None]:
    import torch

    with torch.compiler.set_stance("force_eager"):
        yield
