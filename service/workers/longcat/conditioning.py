"""The parts of a video that LongCat is told of for one of its clips."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from service.workers.adapters.base import Speech

if TYPE_CHECKING:
    import torch

_REACH = 2  # frames before and after each, whose sound it hears
_MAX_FRAMES = 1_000_000  # of a video


def seed_of_clip(seed: int, start: int) -> int:
    """Return the seed of the clip that begins at frame `start`: another for each clip, whether the
    clips before it were generated or loaded."""
    return seed * _MAX_FRAMES + start


def pad_speech(speech: Speech, num_samples: int) -> NDArray[np.float32]:
    """Return the voice with silence behind it."""
    samples = np.zeros(num_samples, np.float32)
    samples[: len(speech.samples)] = speech.samples[: len(samples)]
    return samples


def window_of(
    embedding: "torch.Tensor", start: int, num_frames: int, device: Any
) -> "torch.Tensor":
    """Return the embeddings around each frame of a clip: (1, num_frames, 5, layers, channels).

    `embedding` has one of (layers, channels) for each frame of the video; its ends are repeated.
    """
    import torch

    centres = torch.arange(start, start + num_frames)[:, None]
    around = centres + torch.arange(-_REACH, _REACH + 1)
    return embedding[around.clamp(0, len(embedding) - 1)][None].to(device)
