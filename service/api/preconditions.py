"""Evaluate conditional requests (RFC 9110, section 13)."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from starlette.datastructures import Headers

from service.domain.errors import PreconditionFailed


def is_unmodified(headers: Headers, tag: str, modified_at: datetime | None = None) -> bool:
    """Tell whether the client has this representation already: 304. `tag` is its strong ETag.

    Raises PreconditionFailed where `If-Match` or `If-Unmodified-Since` does not hold.
    """
    since = None if modified_at is None else modified_at.replace(microsecond=0)
    if "if-match" in headers:
        if not _names(headers["if-match"], tag, weak=False):
            raise PreconditionFailed("it does not match `If-Match`: fetch it again")
    elif (date := _date(headers, "if-unmodified-since")) and since and since > date:
        raise PreconditionFailed("it has changed since `If-Unmodified-Since`: fetch it again")
    if "if-none-match" in headers:
        return _names(headers["if-none-match"], tag, weak=True)
    date = _date(headers, "if-modified-since")
    return bool(date and since and since <= date)


def _names(header: str, tag: str, *, weak: bool) -> bool:
    """Tell whether a list of tags, or `*`, includes `tag`."""
    tags = [word.strip() for word in header.split(",")]
    if weak:
        tags = [word.removeprefix("W/") for word in tags]
    return "*" in tags or tag in tags


def _date(headers: Headers, name: str) -> datetime | None:
    """Parse a date header; an invalid one is ignored."""
    try:
        date = parsedate_to_datetime(headers.get(name, ""))
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
