"""Check the URLs that a caller names, before anything is stored."""

from service.domain.errors import FieldError, RequestRefused
from service.egress.client import Rules, TargetRefused, check_url


def refuse_bad_target(rules: Rules, url: str, pointer: str) -> None:
    """Raise RequestRefused for a URL that the egress rules forbid."""
    try:
        check_url(url, rules)
    except TargetRefused as error:
        detail = error.reason
        if "loopback" in detail:
            detail += "; for development, RUSHES_WEBHOOKS_ALLOW_LOOPBACK=1 allows it"
        raise RequestRefused([FieldError(pointer, detail, "refused_url")]) from None
