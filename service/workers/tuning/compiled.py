"""A transformer's repeated blocks compiled, or a decoder: each shape once, and only so many."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from service.domain.models.tuning import Tuning
from service.log import Log

if TYPE_CHECKING:
    import torch

log = Log(__name__)

_AMPERE = (8, 0)  # before it there is no bfloat16 to compile for
_COMPILERS = ("cc", "gcc", "clang")  # Triton builds its launchers with one of them


class Compiled:
    """Runs `module` compiled for the first shapes that it meets, and eager for all others.

    What is compiled takes its sizes for constants: that is fastest, and a new size means some
    seconds of compiling. After `most` sizes a new one runs eager, rather than to compile without
    end. Compiled and eager frames differ by rounding. A compiler that fails costs time and no
    clip: from then on everything runs eager, and the log says why.
    """

    def __init__(self, module: Any, most: int, compile: Callable[[Any], None]) -> None:
        import torch

        self._max = most
        self._shapes: set[Any] = set()
        self._broken = False
        self.last = "not yet"  # how the last step ran
        # A code object keeps what was compiled of it for each shape, and for some things besides.
        config = torch._dynamo.config
        config.recompile_limit = max(config.recompile_limit, 4 * most)
        compile(module)
        # On the instance, and under the hooks that move it to the GPU and back.
        module.forward = self._bounded(module.forward)

    def _bounded(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(forward)
        def run(*args: Any, **kwargs: Any) -> Any:
            shape = _shape(args, kwargs)
            if self._admits(shape):
                try:
                    return self._told("on", forward(*args, **kwargs))
                except Exception as fault:
                    if not _of_compiler(fault):
                        raise
                    log.error("compiler failed; the model runs eager from now on", fault)
                    self._broken = True
            with _eager():
                how = "failed, eager" if self._broken else "eager: more shapes than are compiled"
                return self._told(how, forward(*args, **kwargs))

        return run

    def _told(self, how: str, result: Any) -> Any:
        self.last = how
        return result

    def _admits(self, shape: Any) -> bool:
        if not self._broken and len(self._shapes) < self._max:
            self._shapes.add(shape)
        return not self._broken and shape in self._shapes


def blocks(transformer: Any) -> None:
    """Its repeated blocks, one for all: that compiles in seconds."""
    transformer.compile_repeated_blocks(fullgraph=True, dynamic=False)


def whole(module: Any) -> None:
    """All of it as one: for what has no blocks that repeat."""
    import torch

    module.forward = torch.compile(module.forward, dynamic=False)


def why_not_compiled(levers: Tuning, transformer: Any, device: "torch.device") -> str | None:
    """Why it runs eager, or None when it is to be compiled."""
    if levers.compile == "off":
        return "off"
    if not getattr(transformer, "_repeated_blocks", None):
        return "off: this model names no blocks that repeat"
    if levers.quantize == "float8-storage":
        return "off: float8-storage unpacks weights in ways that do not compile"
    return None if levers.compile == "on" else why_not_here(device)


def why_not_here(device: "torch.device") -> str | None:
    """Why this machine cannot compile for `device`, or None."""
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
    """All by which a call of the transformer may need a compilation of its own."""
    import torch

    given = (*args, *(value for _, value in sorted(kwargs.items())))
    return tuple(
        (tuple(value.shape), value.dtype) if isinstance(value, torch.Tensor) else value is None
        for value in given
    )


def _of_compiler(fault: Exception) -> bool:
    from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException

    return isinstance(fault, TorchDynamoException | FailOnRecompileLimitHit)


@contextmanager
def _eager() -> Iterator[None]:
    import torch

    with torch.compiler.set_stance("force_eager"):
        yield
