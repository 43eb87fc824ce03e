"""How far two clips of the same request are apart."""

import numpy as np

from service.workers.adapters.base import Frame


def apart(some: list[Frame], others: list[Frame]) -> tuple[int, float]:
    """The largest and the mean difference of a pixel, of 255 levels."""
    difference = np.abs(np.stack(some).astype(int) - np.stack(others).astype(int))
    return int(difference.max()), float(difference.mean())
