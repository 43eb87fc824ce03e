"""Turns plain methods into Modal's gRPC service; what nobody wrote answers UNIMPLEMENTED."""

from __future__ import annotations

import inspect
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from google.protobuf.empty_pb2 import Empty as Empty  # type: ignore[import-untyped]
from grpclib import GRPCError, Status
from grpclib._typing import IServable
from grpclib.server import Stream
from modal_proto import api_grpc

log = logging.getLogger(__name__)
Handler = Callable[..., Any]
Method = TypeVar("Method", bound=Handler)
RPCS = api_grpc.ModalClientBase.__abstractmethods__


@dataclass(frozen=True)
class Caller:
    """Who sent a request: a container, or a client outside (then `task_id` is empty)."""

    task_id: str = ""
    idempotency_key: str = ""


@dataclass
class Journal:
    """Which RPCs came in, in order: the last ten thousand."""

    entries: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=10_000))

    def add(self, name: str, caller: Caller, implemented: bool) -> None:
        entry = {"rpc": name, "task": caller.task_id, "at": time.time()}
        self.entries.append(entry if implemented else {**entry, "unimplemented": True})


class Answers:
    """What is done with the answer of an RPC; replaced to lose one on its way."""

    async def __call__(
        self, name: str, caller: Caller, stream: Stream[Any, Any], answer: Awaitable[Any]
    ) -> None:
        await stream.send_message(await answer)


def rpc(method: Method) -> Method:
    """Marks `dict_get` as Modal's `DictGet`: takes (request, caller), returns or yields answers."""
    method.rpc = "".join(word.capitalize() for word in method.__name__.split("_"))  # type: ignore[attr-defined]
    if method.rpc not in RPCS:  # type: ignore[attr-defined]
        raise TypeError(f"{method.__name__}: Modal has no such RPC")
    return method


def handlers(rooms: Iterable[object]) -> dict[str, Handler]:
    """The marked methods of these objects, by the name of their RPC."""
    methods = [m for room in rooms for _, m in inspect.getmembers(room, inspect.ismethod)]
    return {m.rpc: m for m in methods if hasattr(m, "rpc")}


def service(rooms: Iterable[object], journal: Journal, answers: Answers) -> IServable:
    """One instance of Modal's service over these rooms."""
    known = handlers(rooms)
    methods = {name: _method(name, known.get(name), journal, answers) for name in RPCS}
    made: IServable = type("LoopbackModal", (api_grpc.ModalClientBase,), methods)()
    return made


def _method(name: str, handler: Handler | None, journal: Journal, answers: Answers) -> Handler:
    async def answer(_: object, stream: Stream[Any, Any]) -> None:
        caller = _caller(stream)
        request = await stream.recv_message()
        journal.add(name, caller, handler is not None)
        if handler is None:
            log.warning("UNIMPLEMENTED %s", name)
            raise GRPCError(Status.UNIMPLEMENTED, f"the loopback Modal does not implement {name}")
        if inspect.isasyncgenfunction(handler):
            async for message in handler(request, caller):
                await stream.send_message(message)
        else:
            await answers(name, caller, stream, handler(request, caller))

    return answer


def _caller(stream: Stream[Any, Any]) -> Caller:
    sent: Any = stream.metadata or {}
    return Caller(str(sent.get("x-loopback-task", "")), str(sent.get("x-idempotency-key", "")))
