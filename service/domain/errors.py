"""Every error the service raises on purpose, in one tree.

    ServiceError
    ├── RequestRefused     the caller must change the request; names every field that is wrong
    ├── Unauthenticated    no key, or not one of ours
    ├── Forbidden          a good key that may not do this
    ├── NotFound           no such thing for this key
    ├── Conflict           the thing exists, but not in a state that allows this
    │   └── Lost           a worker holds a fence that is no longer the job's
    ├── PreconditionFailed it is not the version that the caller named
    ├── TooLarge           more bytes than the service takes or sends
    ├── QueueFull          too many of this key's jobs wait: come back later
    ├── InputsFull         too much is kept of what this key's jobs were given
    ├── BudgetExceeded     this job may cost more than is left of the key's month
    ├── RateLimited        too many requests of this key: come back later
    ├── StorageFull        no room for another clip
    └── Unavailable        the service cannot answer just now
        └── Busy           somebody else holds what this needs; others are served

An error says who must act. Whatever is not in this tree is our own fault and answers 500.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class FieldError:
    """One wrong field: where it is (JSON pointer, RFC 6901), what would be right, a stable word."""

    pointer: str
    detail: str
    code: str


class ServiceError(Exception):
    """Root of the tree. `code` is the stable word that clients may switch on."""

    code = "service_error"
    retryable = False
    retry_after_seconds: int | None = None

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.code


class RequestRefused(ServiceError):
    code = "invalid_request"

    def __init__(self, errors: Sequence[FieldError], *, code: str | None = None) -> None:
        super().__init__("; ".join(error.detail for error in errors), code=code)
        self.errors = tuple(errors)


class Unauthenticated(ServiceError):
    code = "unauthenticated"


class Forbidden(ServiceError):
    code = "forbidden"


class NotFound(ServiceError):
    code = "not_found"


class Conflict(ServiceError):
    code = "conflict"


class Lost(Conflict):
    code = "lost"

    def __init__(self, message: str = "this attempt no longer owns the job; stop at once") -> None:
        super().__init__(message)


class PreconditionFailed(ServiceError):
    code = "precondition_failed"


class TooLarge(ServiceError):
    code = "too_large"


class QueueFull(ServiceError):
    code = "queue_full"
    retryable = True
    retry_after_seconds = 30  # a guess at when a full queue has room again


class InputsFull(ServiceError):
    code = "inputs_full"
    retryable = True
    retry_after_seconds = 600  # inputs go an hour after a job that made no video, others later


class BudgetExceeded(ServiceError):
    """In US dollars: the month's budget, what of it is spent, what is reserved for open jobs, and
    what this job is expected to cost."""

    code = "budget_exceeded"

    def __init__(self, *, budget: float, spent: float, reserved: float, estimated: float) -> None:
        super().__init__(
            f"this job may cost ${_usd(estimated)}: of this month's budget of ${_usd(budget)}, "
            f"${_usd(spent)} are spent and ${_usd(reserved)} reserved for open jobs"
        )
        self.budget, self.spent = budget, spent
        self.reserved, self.estimated = reserved, estimated


def _usd(amount: float) -> str:
    """To the millionth, but without zeros that say nothing: `50.00`, `0.000581`."""
    whole, _, rest = f"{amount:.6f}".partition(".")
    return f"{whole}.{rest.rstrip('0').ljust(2, '0')}"


class RateLimited(ServiceError):
    code = "rate_limited"
    retryable = True

    def __init__(self, message: str, *, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class StorageFull(ServiceError):
    code = "storage_full"
    retryable = True
    retry_after_seconds = 60


class Unavailable(ServiceError):
    code = "unavailable"
    retryable = True
    retry_after_seconds = 1

    def __init__(
        self, message: str, *, code: str | None = None, retry_after_seconds: int | None = None
    ) -> None:
        super().__init__(message, code=code)
        self.retry_after_seconds = retry_after_seconds or self.retry_after_seconds


class Busy(Unavailable):
    def __init__(
        self, message: str = "another transaction holds a lock that this needs; try again"
    ) -> None:
        super().__init__(message)
