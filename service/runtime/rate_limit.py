"""Rate limit per key: token buckets of this process."""

import math
import time
from dataclasses import dataclass

from service.domain.errors import RateLimited
from service.domain.ids import KeyId

_BURST = 1_000  # tokens of a full bucket
_MAX_KEYS = 10_000


@dataclass
class _Bucket:
    tokens: float
    filled_at: float


class RateLimit:
    """Allow `per_second` requests on average, after a burst of 1,000; 0 means no limit."""

    def __init__(self, per_second: float, noun: str) -> None:
        self._per_second = per_second
        self._noun = noun
        self._buckets: dict[KeyId, _Bucket] = {}

    def spend(self, key_id: KeyId) -> None:
        """Spend a token. Raises RateLimited with the seconds until the next one."""
        if not self._per_second:
            return
        now = time.monotonic()
        bucket = self._bucket(key_id, now)
        if bucket.tokens < 1:
            raise RateLimited(
                f"more than {self._per_second:g} {self._noun} a second; slow down",
                retry_after_seconds=math.ceil((1 - bucket.tokens) / self._per_second),
            )
        bucket.tokens -= 1

    def _bucket(self, key_id: KeyId, now: float) -> _Bucket:
        bucket = self._buckets.get(key_id)
        if bucket is None:
            if len(self._buckets) >= _MAX_KEYS:
                self._buckets.clear()
            bucket = self._buckets[key_id] = _Bucket(_BURST, now)
        refill = (now - bucket.filled_at) * self._per_second
        bucket.tokens = min(_BURST, bucket.tokens + refill)
        bucket.filled_at = now
        return bucket
