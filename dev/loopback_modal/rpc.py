"""Turn plain methods into Modal's gRPC service; other RPCs return UNIMPLEMENTED."""

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
    """The sender of a request: a container, or a client (then `task_id` is empty)."""

    task_id: str = ""
    idempotency_key: str = ""


@dataclass
class Journal:
    """Records the last ten thousand RPCs, in order."""

    entries: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=10_000))

    def add(self, name: str, caller: Caller, is_implemented: bool) -> None:
        entry = {"rpc": name, "task": caller.task_id, "at": time.time()}
        self.entries.append(entry if is_implemented else {**entry, "unimplemented": True})


class Responder:
    """Sends the response of an RPC; a subclass can lose it."""

    async def __call__(
        self, name: str, caller: Caller, stream: Stream[Any, Any], answer: Awaitable[Any]
    ) -> None:
        await stream.send_message(await answer)


def rpc(method: Method) -> Method:
    """Mark `dict_get` as Modal's `DictGet`: takes (request, caller), returns or yields."""
    method.rpc = "".join(word.capitalize() for word in method.__name__.split("_"))  # type: ignore[attr-defined]
    if method.rpc not in RPCS:  # type: ignore[attr-defined]
        raise TypeError(f"{method.__name__}: Modal has no such RPC")
    return method


def handlers(servicers: Iterable[object]) -> dict[str, Handler]:
    """Return the marked methods of these objects, by the name of their RPC."""
    methods = [
        m for servicer in servicers for _, m in inspect.getmembers(servicer, inspect.ismethod)
    ]
    return {m.rpc: m for m in methods if hasattr(m, "rpc")}


def service(servicers: Iterable[object], journal: Journal, answers: Responder) -> IServable:
    """Create Modal's service from these servicers."""
    by_name = handlers(servicers)
    methods = {name: _method(name, by_name.get(name), journal, answers) for name in RPCS}
    instance: IServable = type("LoopbackModal", (api_grpc.ModalClientBase,), methods)()
    return instance


def _method(name: str, handler: Handler | None, journal: Journal, answers: Responder) -> Handler:
    async def answer(_: object, stream: Stream[Any, Any]) -> None:
        caller = _caller(stream)
        request = await stream.recv_message()
        journal.add(name, caller, handler is not None)
        if handler is None:
            log.warning("UNIMPLEMENTED %s", name)
            raise GRPCError(Status.UNIMPLEMENTED, f"the Modal emulator does not implement {name}")
        if inspect.isasyncgenfunction(handler):
            async for message in handler(request, caller):
                await stream.send_message(message)
        else:
            await answers(name, caller, stream, handler(request, caller))

    return answer


def _caller(stream: Stream[Any, Any]) -> Caller:
    meta: Any = stream.metadata or {}
    return Caller(str(meta.get("x-loopback-task", "")), str(meta.get("x-idempotency-key", "")))
