"""Every lever at a pipeline that was just assembled, and what came of it."""

from typing import TYPE_CHECKING, Any

from service.domain.models.tuning import Tuning
from service.workers.tuning.attention import choose_attention
from service.workers.tuning.compiled import Compiled, blocks, whole, why_not_compiled, why_not_here
from service.workers.tuning.decoder import Tiles, prepare_vae
from service.workers.tuning.embeddings import Embeddings
from service.workers.tuning.quantized import quantize

if TYPE_CHECKING:
    import torch


class AppliedTuning:
    """Pulls them at `pipe`, which is still on the CPU, and tells what it runs with.

    Raises AttemptFailed for a lever that cannot be had here.
    """

    def __init__(
        self, pipe: Any, levers: Tuning, device: "torch.device", embeddings: Embeddings
    ) -> None:
        self._pipe, self._levers, self._embeddings = pipe, levers, embeddings
        self._dtype = str(pipe.transformer.dtype).removeprefix("torch.")
        self._attention = choose_attention(pipe.transformer, levers.attention, device)
        prepare_vae(pipe.vae, levers, pipe.transformer.dtype)
        self.tiles = Tiles(pipe.vae)
        quantize(pipe.transformer, levers.quantize, device)
        self._eager = why_not_compiled(levers, pipe.transformer, device)
        most = levers.compiled_shapes
        self._compiled = None if self._eager else Compiled(pipe.transformer, most, blocks)
        # `compile` decides for both whether this machine can.
        self._decoder = None
        if levers.compile_decoder and (levers.compile == "on" or why_not_here(device) is None):
            self._decoder = Compiled(pipe.vae.decoder, most, whole)

    def _compiled_too(self) -> str:
        return f", compiled: {self._decoder.last}" if self._decoder else ""

    def told(self) -> dict[str, str]:
        """In a few words each; those about a clip are about the last one."""
        vae = str(self._pipe.vae.dtype).removeprefix("torch.")
        return {
            "dtype": self._dtype,
            "compile": self._compiled.last if self._compiled else self._eager or "off",
            "attention": self._attention,
            "quantize": self._levers.quantize,
            "vae": vae + (" channels-last" if self._levers.vae_channels_last else ""),
            "decode": self.tiles.last + self._compiled_too(),
            "embeddings": self._embeddings.last,
        }
