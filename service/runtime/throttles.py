"""Limit the requests that one API process takes, of each kind that is limited."""

from dataclasses import dataclass
from typing import Self

from service.domain.limits import Limits
from service.runtime.key_slots import KeySlots
from service.runtime.rate_limit import RateLimit
from service.runtime.wait_slots import WaitSlots


@dataclass(frozen=True)
class Throttles:
    """Rates and slots, by what is limited."""

    requests: RateLimit
    submits: RateLimit
    waits: WaitSlots
    streams: WaitSlots
    lists: KeySlots
    inline_videos: KeySlots
    voices: KeySlots  # being cloned, removed, or heard as a sample
    checks: KeySlots  # of photos and recordings

    @classmethod
    def of(cls, limits: Limits, *, requests_per_second: float, submits_per_second: float) -> Self:
        return cls(
            requests=RateLimit(requests_per_second, "requests"),
            submits=RateLimit(submits_per_second, "submits"),
            waits=WaitSlots(limits.max_waits),
            streams=WaitSlots(limits.max_streams),
            lists=KeySlots("lists", max_at_once=2, max_seconds=10),
            inline_videos=KeySlots("inline videos", max_at_once=8, max_seconds=30),
            voices=KeySlots("voices being made", max_at_once=2, max_seconds=30),
            checks=KeySlots("photos and recordings being checked", max_at_once=2, max_seconds=30),
        )
