"""A call: what a dispatcher started to carry out one attempt, and what it answers at its end."""

from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from service.domain.attempt import Failure, Outcome


class CallEnd(BaseModel):
    """What a called worker returns, so that asking the call is enough if it could not report.

    `fence` is the one under which it worked: the running one, or the ticket's where it could not
    reach the API to begin (`begun` is false). Without outcome and failure it was not its to do.
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

    waiting: int  # calls that no container has taken yet
    running: int  # calls at work
    containers: int  # that there are, at work, idle or starting


# `unknown`: its answer has expired, or was never kept. `died`: without an answer.
Look: TypeAlias = CallEnd | Literal["alive", "died", "timed out", "unknown"]
