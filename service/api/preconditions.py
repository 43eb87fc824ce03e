"""Conditional requests, by RFC 9110, section 13."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from starlette.datastructures import Headers

from service.domain.errors import PreconditionFailed


def unchanged(headers: Headers, tag: str, modified: datetime | None = None) -> bool:
    """Tell whether the client has this representation already: 304. `tag` is its strong ETag.

    Raises PreconditionFailed where the client wants another one than this.
    """
    since = None if modified is None else modified.replace(microsecond=0)
    if "if-match" in headers:
        if not _names(headers["if-match"], tag, weak=False):
            raise PreconditionFailed("it is not what `If-Match` names: fetch it anew")
    elif (date := _date(headers, "if-unmodified-since")) and since and since > date:
        raise PreconditionFailed("it has changed since `If-Unmodified-Since`: fetch it anew")
    if "if-none-match" in headers:
        return _names(headers["if-none-match"], tag, weak=True)
    date = _date(headers, "if-modified-since")
    return bool(date and since and since <= date)


def _names(listed: str, tag: str, *, weak: bool) -> bool:
    """One tag, several, weak ones, or `*`."""
    tags = [word.strip() for word in listed.split(",")]
    if weak:
        tags = [word.removeprefix("W/") for word in tags]
    return "*" in tags or tag in tags


def _date(headers: Headers, name: str) -> datetime | None:
    """What is no date says nothing."""
    try:
        date = parsedate_to_datetime(headers.get(name, ""))
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
