"""A VAE as it is to decode: its precision, its layout, and tiles where it would not fit whole."""

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from service.domain.models.tuning import Tuning
from service.log import Log
from service.workers.device import empty_cache, is_out_of_memory

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
log = Log(__name__)


def prepare_vae(vae: Any, levers: Tuning, dtype: "torch.dtype") -> None:
    """`dtype` is the transformer's. Only the families that keep their VAE in float32 beside it
    can have the two differ, and so only they have a choice."""
    import torch

    if levers.vae_dtype == "bfloat16" and dtype is torch.bfloat16:
        vae.to(dtype)
    if levers.vae_channels_last:
        for module in vae.modules():
            if isinstance(module, torch.nn.Conv3d):
                module.to(memory_format=torch.channels_last_3d)


class Tiles:
    """Decodes a clip whole where it fits, else in tiles that overlap.

    A clip that did not fit is tried once more by tiles; clips at least as large are then tiled at
    once. Where tiles meet they are blended, which can be seen in the numbers and hardly in a clip.
    """

    def __init__(self, vae: Any) -> None:
        self._vae = vae
        self._family = bool(vae.use_tiling)  # whether the family never decodes it whole
        self._always = self._family
        self._least: int | None = None  # pixels of all frames of the smallest that did not fit
        self.last = "not yet"  # how the last clip was decoded

    def always(self, tiled: bool) -> None:
        """For a model that has less memory, or has it again."""
        self._always = tiled or self._family

    def by_need(self, pixels: int, decode: Callable[[], T]) -> T:
        """What `decode` makes. It may be called twice, and must make the same both times."""
        if self._always or (self._least is not None and pixels >= self._least):
            return self._tiled(decode)
        try:
            with self._tiling(False):
                made = decode()
        except RuntimeError as exc:
            if not is_out_of_memory(exc):
                raise
            # Let go of what the decoder held when it failed.
            traceback.clear_frames(exc.__traceback__)
        else:
            self.last = "whole"
            return made
        empty_cache()
        self._least = pixels
        log.warning("a clip does not fit whole into the decoder; by tiles", pixels=pixels)
        return self._tiled(decode)

    def _tiled(self, decode: Callable[[], T]) -> T:
        with self._tiling(True):
            made = decode()
        self.last = "tiles"
        return made

    @contextmanager
    def _tiling(self, on: bool) -> Iterator[None]:
        """The flag alone: the sizes of the tiles are the family's own."""
        before = self._vae.use_tiling
        self._vae.use_tiling = on
        try:
            yield
        finally:
            self._vae.use_tiling = before
