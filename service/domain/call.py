"""A call: started by a dispatcher on a platform such as Modal to run one attempt."""

from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from service.domain.attempt import Failure, Outcome


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
