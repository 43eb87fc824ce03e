"""Numbers, times and amounts as people read them."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from markupsafe import Markup

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def ago(moment: datetime, now: datetime) -> str:
    """Return `3 min ago`, or `in 3 min`."""
    seconds = (now - moment).total_seconds()
    if abs(seconds) < 1:
        return "now"
    text = span(abs(seconds))
    return f"{text} ago" if seconds > 0 else f"in {text}"


def span(seconds: float) -> str:
    """Return a length of time in its largest unit, rounded down: `45 s`, `3 min`, `2 d`."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{seconds:.1f} s" if seconds else "0 s"


def exact(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def when(moment: datetime, now: datetime) -> Markup:
    """Return a moment relative to now with the exact one beside it: the day too, if not today's."""
    utc = moment.astimezone(UTC)
    beside = f"{utc:%H:%M:%S}" if utc.date() == now.astimezone(UTC).date() else f"{utc:%d %b %H:%M}"
    return Markup(
        '<time datetime="{}" title="{}"><span class="ago">{}</span>'
        ' <span class="exact">{}</span></time>'
    ).format(utc.isoformat(), exact(utc), ago(moment, now), beside)


def milliseconds(ms: float) -> str:
    """Return `80 ms`, `4.2 s`, `3 min 20 s` or `2 h 5 min`."""
    if ms < 1000:
        return f"{ms:.0f} ms"
    seconds = ms / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"


def usd(amount: float) -> str:
    """Return dollars to the cent, or to two digits that are not 0 for less."""
    if amount == 0:
        return "$0"
    if amount >= 0.01:
        return f"${amount:,.2f}"
    return f"${amount:.2g}" if amount >= 0.0001 else "<$0.0001"


def dollars(micros: int) -> str:
    """Return an amount for a field of a form, exactly: `50`, `12345.67`."""
    return f"{micros / 1e6:.6f}".rstrip("0").rstrip(".")


def count(number: int) -> str:
    return f"{number:,}"


def percent(share: float) -> str:
    """Return a share with one decimal, and never `100 %` for less."""
    if share == 1:
        return "100 %"
    return f"{min(round(share * 100, 1), 99.9):.1f} %"


def file_size(size: int) -> str:
    """Return `3.2 MB`, or `64 kB` or `154 bytes` for less."""
    if size >= 1_000_000:
        return f"{size / 1e6:.1f} MB"
    return f"{size / 1e3:.0f} kB" if size >= 1000 else f"{size} byte{'' if size == 1 else 's'}"


def bare_url(url: str) -> str:
    """Return a URL without its query and password, which may be secrets."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" + ("?…" if parts.query else "")


def filter_words(query: str) -> str:
    """Return the query of a list as people read it: `state=queued, model=slate`."""
    return ", ".join("=".join(pair) for pair in parse_qsl(query.removeprefix("?"))) or "all jobs"


FILTERS: dict[str, Callable[..., Any]] = {
    "ago": ago,
    "span": span,
    "exact": exact,
    "when": when,
    "ms": milliseconds,
    "usd": usd,
    "dollars": dollars,
    "count": count,
    "percent": percent,
    "file_size": file_size,
    "bare_url": bare_url,
    "filter_words": filter_words,
}
