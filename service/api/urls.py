"""URLs that a request names, checked before anything is kept."""

from service.domain.errors import FieldError, RequestRefused
from service.egress.client import TargetRefused, check_url
from service.runtime.runtime import Runtime


def refuse_bad_target(runtime: Runtime, url: str, pointer: str) -> None:
    """Raises RequestRefused for a URL that would never be called."""
    try:
        check_url(url, runtime.egress_rules)
    except TargetRefused as refused:
        why = refused.reason
        if "loopback" in why:
            why += (
                "; a service that is started with RUSHES_WEBHOOKS_ALLOW_LOOPBACK=1 allows it, "
                "for development"
            )
        raise RequestRefused([FieldError(pointer, why, "refused_url")]) from None
