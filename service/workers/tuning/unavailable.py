"""The failure for a tuning setting that is not available on this machine."""

from service.domain.attempt import AttemptFailed, FailureKind


def setting_unavailable(setting: str, value: str, reason: str) -> AttemptFailed:
    """Build the failure; `setting` is the variable's name without RUSHES_."""
    return AttemptFailed(
        FailureKind.INTERNAL,
        "setting_unavailable",
        f"RUSHES_{setting}={value} is not available: {reason}",
    )
