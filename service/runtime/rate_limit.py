"""How many requests a key may make: a bucket of tokens for each, in this process alone."""

import math
import time
from dataclasses import dataclass

from service.domain.errors import RateLimited
from service.domain.ids import KeyId

_AT_ONCE = 1_000  # what a full bucket holds
_MAX_KEYS = 10_000


@dataclass
class _Bucket:
    tokens: float
    filled_at: float


class RateLimit:
    """`per_second` requests in the long run, and a burst before that; 0 is no limit at all."""

    def __init__(self, per_second: float, what: str) -> None:
        self._per_second = per_second
        self._what = what
        self._buckets: dict[KeyId, _Bucket] = {}

    def spend(self, key_id: KeyId) -> None:
        """Raises RateLimited, with the seconds until there is room for one more."""
        if not self._per_second:
            return
        now = time.monotonic()
        bucket = self._bucket(key_id, now)
        if bucket.tokens < 1:
            raise RateLimited(
                f"more than {self._per_second:g} {self._what} a second; slow down",
                retry_after_seconds=math.ceil((1 - bucket.tokens) / self._per_second),
            )
        bucket.tokens -= 1

    def _bucket(self, key_id: KeyId, now: float) -> _Bucket:
        bucket = self._buckets.get(key_id)
        if bucket is None:
            if len(self._buckets) >= _MAX_KEYS:
                self._buckets.clear()
            bucket = self._buckets[key_id] = _Bucket(_AT_ONCE, now)
        refill = (now - bucket.filled_at) * self._per_second
        bucket.tokens = min(_AT_ONCE, bucket.tokens + refill)
        bucket.filled_at = now
        return bucket
