"""Conversions between frames and the images and tensors of diffusers."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from service.domain.request import VideoRequest
from service.workers.adapters.base import Frame, Frames

if TYPE_CHECKING:
    import torch


def to_images(frames: Frames) -> list[Image.Image]:
    return [Image.fromarray(frame) for frame in frames]


def to_tensor(frames: Frames) -> "torch.Tensor":
    """Return (1, 3, frames, height, width) from -1 to 1, in float32 on the CPU."""
    import torch

    levels = torch.from_numpy(frames.copy()).permute(3, 0, 1, 2).unsqueeze(0)
    return levels.float() / 255 * 2 - 1


def to_frames(video: "torch.Tensor", request: VideoRequest) -> Iterator[Frame]:
    """Yield one frame at a time, so that a second copy of the clip is never in memory.

    Levels are rounded, not truncated; frames are resized where the model works at another size.
    """
    for index in range(video.shape[2]):
        # First to float32: near 1 bfloat16 is coarser than the 256 levels of a pixel.
        frame = (video[0, :, index].float() * 0.5 + 0.5).clamp(0, 1) * 255
        pixels: Frame = frame.round().byte().permute(1, 2, 0).contiguous().cpu().numpy()
        yield _resize(pixels, request.width, request.height)


def _resize(frame: Frame, width: int, height: int) -> Frame:
    if frame.shape[:2] == (height, width):
        return frame
    image = Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image).copy()
