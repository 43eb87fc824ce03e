"""A lever that cannot be had here is refused in words, before any clip is begun."""

from service.domain.attempt import AttemptFailed, FailureKind


def refused(setting: str, value: str, why: str) -> AttemptFailed:
    """`setting` as the operator knows it, without its RUSHES_."""
    return AttemptFailed(
        FailureKind.INTERNAL, "lever_unavailable", f"RUSHES_{setting}={value} cannot be had: {why}"
    )
