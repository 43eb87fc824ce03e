"""What every voice returns."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.domain.speech import Phone, Word


@dataclass(frozen=True)
class Spoken:
    """A text as a voice spoke it: float32 samples, mono, -1 to 1, `rate` of them a second.

    `words` are timed where the voice tells it, else empty. `phones` are None where it does not;
    lips are then read from the sound. `cost_usd` is what a provider charges for it.
    """

    samples: NDArray[np.float32]
    rate: int
    words: tuple[Word, ...] = ()
    phones: tuple[Phone, ...] | None = None
    cost_usd: float = 0.0

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate
