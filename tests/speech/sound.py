"""The samples of speech as numbers."""

import numpy as np
from numpy.typing import NDArray

from service.speech.base import Spoken


def levels(speech: Spoken) -> NDArray[np.float32]:
    """The samples, -1 to 1."""
    return np.frombuffer(speech.samples, "<i2").astype(np.float32) / np.float32(32767)
