"""Answers that get lost: the server does what was asked, the client never hears of it."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any, Literal

from grpclib import GRPCError, Status
from grpclib.server import Stream

from dev.loopback_modal.rpc import Answers, Caller

Way = Literal["unavailable", "reset"]


@dataclass
class Loss:
    """Armed for the next spawn: how the answer is lost, and on how many of the client's tries."""

    way: Way = "unavailable"
    times: int = 1
    key: str = ""


@dataclass
class LosingAnswers(Answers):
    """Delivers answers, but for those that were arranged to be lost."""

    armed: list[Loss] = field(default_factory=list)

    def lose_next(self, way: Way, times: int) -> None:
        """Modal's client sends a spawn four times in all, under one idempotency key: with fewer
        `times` it gets its call in the end, with more its caller sees the error."""
        self.armed.append(Loss(way, times))

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
            raise GRPCError(Status.UNAVAILABLE, "the answer was lost, as arranged")

    def loss(self, caller: Caller) -> Loss | None:
        """The loss that concerns this request; a retry has the key of the first try."""
        for loss in self.armed:
            if loss.key in ("", caller.idempotency_key):
                loss.key = caller.idempotency_key
                loss.times -= 1
                if loss.times <= 0:
                    self.armed.remove(loss)
                return loss
        return None
