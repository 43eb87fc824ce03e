"""Windows of time over which jobs are counted, by the moment at which they ended."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class Length(StrEnum):
    """The lengths of a window: for each its name in a URL, its time, and its name in a sentence."""

    HOUR = "1h", timedelta(hours=1), "the last hour"
    DAY = "24h", timedelta(hours=24), "the last 24 hours"
    WEEK = "7d", timedelta(days=7), "the last 7 days"
    MONTH = "30d", timedelta(days=30), "the last 30 days"

    time: timedelta
    words: str

    def __new__(cls, text: str, time: timedelta, words: str) -> "Length":
        member = str.__new__(cls, text)
        member._value_, member.time, member.words = text, time, words
        return member


@dataclass(frozen=True)
class Window:
    """From `start` until just before `end`."""

    start: datetime
    end: datetime

    @property
    def length(self) -> timedelta:
        return self.end - self.start

    @classmethod
    def until(cls, now: datetime, length: timedelta) -> "Window":
        """Return the window that ends now, or less than a second before: at a whole second, which
        a URL can name."""
        end = now.replace(microsecond=0)
        return cls(end - length, end)
