"""Windows of time over which jobs are counted, by the moment at which they ended."""

from dataclasses import dataclass
from datetime import datetime, timedelta

LENGTHS: dict[str, timedelta] = {
    "1h": timedelta(hours=1),
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}


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
