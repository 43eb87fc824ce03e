"""Apply the tuning to an assembled pipeline, and report how it runs."""

from typing import TYPE_CHECKING, Any

from service.domain.models.tuning import Tuning
from service.workers.tuning.attention import choose_attention
from service.workers.tuning.compiled import (
    CompiledModule,
    compile_blocks,
    compile_whole,
    device_off_reason,
    off_reason,
)
from service.workers.tuning.decoder import TiledDecoder, prepare_vae
from service.workers.tuning.embeddings import EmbeddingCache
from service.workers.tuning.quantized import quantize

if TYPE_CHECKING:
    import torch


class AppliedTuning:
    """Applies the tuning to `pipe`, which is still on the CPU.

    Raises AttemptFailed for a setting that is not available on this machine.
    """

    def __init__(
        self, pipe: Any, tuning: Tuning, device: "torch.device", embeddings: EmbeddingCache
    ) -> None:
        self._pipe, self._tuning, self._embeddings = pipe, tuning, embeddings
        self._dtype = str(pipe.transformer.dtype).removeprefix("torch.")
        self._attention = choose_attention(pipe.transformer, tuning.attention, device)
        prepare_vae(pipe.vae, tuning, pipe.transformer.dtype)
        self.decoder = TiledDecoder(pipe.vae)
        quantize(pipe.transformer, tuning.quantize, device)
        self._off_reason = off_reason(tuning, pipe.transformer, device)
        max_shapes = tuning.compiled_shapes
        self._transformer = self._compiled_decoder = None
        if not self._off_reason:
            self._transformer = CompiledModule(pipe.transformer, max_shapes, compile_blocks)
        # `compile` decides for both whether this machine can compile.
        can_compile = tuning.compile == "on" or device_off_reason(device) is None
        if tuning.compile_decoder and can_compile:
            self._compiled_decoder = CompiledModule(pipe.vae.decoder, max_shapes, compile_whole)

    def report(self) -> dict[str, str]:
        """Describe each setting in a few words; those about a clip are about the last one."""
        compiled_decoder = self._compiled_decoder
        vae = str(self._pipe.vae.dtype).removeprefix("torch.")
        return {
            "dtype": self._dtype,
            "compile": self._transformer.last if self._transformer else self._off_reason or "off",
            "attention": self._attention,
            "quantize": self._tuning.quantize,
            "vae": vae + (" channels-last" if self._tuning.vae_channels_last else ""),
            "decode": self.decoder.last
            + (f", compiled: {compiled_decoder.last}" if compiled_decoder else ""),
            "embeddings": self._embeddings.last,
        }
