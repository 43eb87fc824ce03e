"""Between frames as the house has them and what diffusers takes and gives."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from service.domain.request import VideoRequest
from service.workers.adapters.base import Film, Frame

if TYPE_CHECKING:
    import torch


def pictures(film: Film) -> list[Image.Image]:
    return [Image.fromarray(frame) for frame in film]


def tensor_of(film: Film) -> "torch.Tensor":
    """(1, 3, frames, height, width) from -1 to 1, in float32 on the CPU."""
    import torch

    levels = torch.from_numpy(film.copy()).permute(3, 0, 1, 2).unsqueeze(0)
    return levels.float() / 255 * 2 - 1


def frames_of(video: "torch.Tensor", request: VideoRequest) -> Iterator[Frame]:
    """One frame at a time, so that there is never a second clip in memory.

    Rounded, not cut off; brought to the request's size where the model works in another.
    """
    for index in range(video.shape[2]):
        # First to float32: near 1 bfloat16 is coarser than the 256 levels of a pixel.
        frame = (video[0, :, index].float() * 0.5 + 0.5).clamp(0, 1) * 255
        pixels: Frame = frame.round().byte().permute(1, 2, 0).contiguous().cpu().numpy()
        yield _sized(pixels, request.width, request.height)


def _sized(frame: Frame, width: int, height: int) -> Frame:
    if frame.shape[:2] == (height, width):
        return frame
    small = Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(small).copy()
