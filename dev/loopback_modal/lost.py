"""Lost responses: the server executes the request, but the client gets no response."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any, Literal

from grpclib import GRPCError, Status
from grpclib.server import Stream

from dev.loopback_modal.rpc import Caller, Responder

Way = Literal["unavailable", "reset"]


@dataclass
class Loss:
    """The loss of a spawn's response: in which way, and on how many of the client's tries."""

    way: Way = "unavailable"
    times: int = 1
    key: str = ""


@dataclass
class LossyResponder(Responder):
    """Sends responses, except those that a test arranged to be lost."""

    losses: list[Loss] = field(default_factory=list)

    def lose_next(self, way: Way, times: int) -> None:
        """Lose the next spawn's response on `times` tries. Modal's client tries four times under
        one idempotency key; with four losses its caller sees the error."""
        self.losses.append(Loss(way, times))

    async def __call__(
        self, name: str, caller: Caller, stream: Stream[Any, Any], answer: Awaitable[Any]
    ) -> None:
        message = await answer
        loss = self.loss(caller) if name == "FunctionMap" else None
        if loss is None:
            await stream.send_message(message)
        elif loss.way == "reset":
            await stream.cancel()
        else:
            raise GRPCError(Status.UNAVAILABLE, "the response was lost, as arranged")

    def loss(self, caller: Caller) -> Loss | None:
        """Return the loss for this request; a retry has the key of the first try."""
        for loss in self.losses:
            if loss.key in ("", caller.idempotency_key):
                loss.key = caller.idempotency_key
                loss.times -= 1
                if loss.times <= 0:
                    self.losses.remove(loss)
                return loss
        return None
