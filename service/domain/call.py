"""A call: started by a dispatcher on a platform such as Modal to run one attempt."""

from typing import Literal, Protocol, TypeAlias

from pydantic import BaseModel, ConfigDict

from service.domain.attempt import Failure, Outcome, Ticket


class CallEnd(BaseModel):
    """The return value of a call, by which a job can be settled if its worker could not report.

    `fence` is the one under which it worked: the ticket's if it could not reach the API to begin
    (`begun` is false). Without outcome and failure the attempt was not this call's.
    """

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    job_id: str
    attempt: int
    fence: int
    begun: bool
    outcome: Outcome | None = None
    failure: Failure | None = None


class Pool(BaseModel):
    """The containers of one model, as their platform counts them."""

    model_config = ConfigDict(frozen=True)

    waiting: int  # calls that no container has started yet
    running: int  # calls that a container works on
    containers: int  # working, idle or starting


# `unknown`: its result has expired, or was never stored. `died`: ended without a result.
CallStatus: TypeAlias = CallEnd | Literal["alive", "died", "timed out", "unknown"]


class Dispatcher(Protocol):
    """Starts workers by calls to a platform, and polls the calls."""

    def send(self, ticket: Ticket) -> str:
        """Start a call and return its id. Raises Unavailable; it may have started all the same."""
        ...

    def status(self, call_id: str) -> CallStatus:
        """Poll a call. Raises Unavailable if the platform does not answer."""
        ...

    def cancel(self, call_id: str) -> None:
        """Stop a call if possible; never raises."""
        ...

    def pool(self, model: str) -> Pool:
        """Count a model's containers and calls. Raises Unavailable."""
        ...

    def kept_warm(self, model: str) -> int:
        """Return how many containers of a model are kept warm. Raises Unavailable."""
        ...

    def keep_warm(self, model: str, containers: int) -> None:
        """Keep so many containers warm, until the next deploy. Raises Unavailable."""
        ...
