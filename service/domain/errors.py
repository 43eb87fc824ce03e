"""The errors that the API answers with, in one tree.

    ServiceError
    ├── RequestRefused     the caller must change the request; names every field that is wrong
    ├── Unauthenticated    no key, or an unknown one
    ├── Forbidden          a valid key that may not do this
    ├── NotFound           no such resource for this key
    ├── Conflict           the resource is in a state that does not allow this
    │   └── Lost           a worker's fencing token is stale
    ├── Gone               the event to resume behind is not kept any more
    ├── PreconditionFailed not the version that the caller named
    ├── TooLarge           more bytes than the limit
    ├── QueueFull          too many queued jobs of this key: retry later
    ├── InputsFull         stored inputs and avatars of this key exceed the limit
    ├── BudgetExceeded     this job may exceed the key's monthly budget
    ├── RateLimited        too many requests of this key: retry later
    ├── StorageFull        no disk space for another video
    └── Unavailable        the service cannot answer now: retry later
        └── Busy           another transaction holds a lock that this needs

Any other exception that reaches a route is a bug of the service and answers 500.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class FieldError:
    """One invalid field: its JSON pointer (RFC 6901), what would be valid, a stable code."""

    pointer: str
    detail: str
    code: str


class ServiceError(Exception):
    """Root of the tree. `code` is stable: clients may switch on it."""

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


class Gone(ServiceError):
    code = "position_gone"


class PreconditionFailed(ServiceError):
    code = "precondition_failed"


class TooLarge(ServiceError):
    code = "too_large"


class QueueFull(ServiceError):
    code = "queue_full"
    retryable = True
    retry_after_seconds = 30  # a guess at when a full queue has a free place


class InputsFull(ServiceError):
    code = "inputs_full"
    retryable = True
    retry_after_seconds = 600  # inputs of a job without a video are deleted after an hour


class BudgetExceeded(ServiceError):
    """In US dollars: the month's budget, its part that is spent, the part reserved for open jobs,
    and the estimate for this job."""

    code = "budget_exceeded"

    def __init__(self, *, budget: float, spent: float, reserved: float, estimated: float) -> None:
        super().__init__(
            f"this job may cost ${_usd(estimated)}: of this month's budget of ${_usd(budget)}, "
            f"${_usd(spent)} are spent and ${_usd(reserved)} reserved for open jobs"
        )
        self.budget, self.spent = budget, spent
        self.reserved, self.estimated = reserved, estimated


def _usd(amount: float) -> str:
    """Format to the millionth, without trailing zeros after the cents: `50.00`, `0.000581`."""
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
    def __init__(self) -> None:
        super().__init__("another transaction holds a lock that this needs; try again")
