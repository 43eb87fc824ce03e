"""Decoding by the VAE: precision, memory layout, and tiles when a clip does not fit whole."""

import logging
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from service.domain.models.tuning import Tuning
from service.workers.device import empty_cache, is_out_of_memory

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
log = logging.getLogger(__name__)


def prepare_vae(vae: Any, tuning: Tuning, dtype: "torch.dtype") -> None:
    """Set the VAE's precision and layout; `dtype` is the transformer's.

    The precision is a choice only for families whose VAE is in float32.
    """
    import torch

    if tuning.vae_dtype == "bfloat16" and dtype is torch.bfloat16:
        vae.to(dtype)
    if tuning.vae_channels_last:
        for module in vae.modules():
            if isinstance(module, torch.nn.Conv3d):
                module.to(memory_format=torch.channels_last_3d)


class TiledDecoder:
    """Decodes a clip whole where it fits, else in overlapping tiles, which are blended.

    A clip that did not fit is decoded again in tiles; later clips at least as large are tiled at
    once.
    """

    def __init__(self, vae: Any) -> None:
        self._vae = vae
        self._default = bool(vae.use_tiling)  # True for families that always use tiles
        self._always = self._default
        self._min_pixels: int | None = None  # in all frames of the smallest clip that did not fit
        self.last = "not yet"  # how the last clip was decoded

    def tile_always(self, on: bool) -> None:
        """Use tiles for every clip, or only where needed."""
        self._always = on or self._default

    def decode(self, pixels: int, decode: Callable[[], T]) -> T:
        """Return the result of `decode`, which may be called twice and must be deterministic."""
        if self._always or (self._min_pixels is not None and pixels >= self._min_pixels):
            return self._decode_tiled(decode)
        try:
            with self._use_tiling(False):
                clip = decode()
        except RuntimeError as exc:
            if not is_out_of_memory(exc):
                raise
            # Free the tensors of the frames that failed.
            traceback.clear_frames(exc.__traceback__)
        else:
            self.last = "whole"
            return clip
        empty_cache()
        self._min_pixels = pixels
        log.warning(
            "clip does not fit into the decoder; decoding it in tiles", extra={"pixels": pixels}
        )
        return self._decode_tiled(decode)

    def _decode_tiled(self, decode: Callable[[], T]) -> T:
        with self._use_tiling(True):
            clip = decode()
        self.last = "tiles"
        return clip

    @contextmanager
    def _use_tiling(self, on: bool) -> Iterator[None]:
        """Set the VAE's flag inside the block; tile sizes are the family's own."""
        before = self._vae.use_tiling
        self._vae.use_tiling = on
        try:
            yield
        finally:
            self._vae.use_tiling = before
