"""The objects of the control plane: App, Pool, Input, Container, and the notifier for waiters."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from modal_proto import api_pb2 as pb


class Notifier:
    """Wakes everyone who waits at the time of `notify`."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def notify(self) -> None:
        event, self._event = self._event, asyncio.Event()
        event.set()

    async def wait(self, timeout_s: float | None = None) -> None:
        """Return at the next `notify`, or after the timeout."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        except TimeoutError:
            pass


class Chunks:
    """A stream of data chunks that can be read again from any index."""

    def __init__(self) -> None:
        self.items: list[pb.DataChunk] = []
        self.notifier = Notifier()

    def extend(self, chunks: list[pb.DataChunk]) -> None:
        self.items += chunks
        self.notifier.notify()

    async def at(self, index: int) -> pb.DataChunk:
        """Wait for the chunk at this index, counted from 0."""
        while len(self.items) <= index:
            await self.notifier.wait()
        return self.items[index]


@dataclass(eq=False)
class App:
    id: str
    name: str
    state: pb.AppState.ValueType
    created_at: float = field(default_factory=time.time)
    stopped_at: float = 0.0
    version: int = 0
    function_ids: dict[str, str] = field(default_factory=dict)
    class_ids: dict[str, str] = field(default_factory=dict)

    @property
    def ephemeral(self) -> bool:
        return self.state == pb.APP_STATE_EPHEMERAL

    @property
    def stopped(self) -> bool:
        return self.state == pb.APP_STATE_STOPPED


@dataclass
class Definition:
    """A Function as its deploy described it; `data` also holds the GPU fallbacks, in order."""

    function: pb.Function
    data: pb.FunctionData


@dataclass(eq=False)
class Pool:
    """A unit of scaling: a Function, a Cls, or a Cls bound to parameters or options."""

    id: str
    app: App
    live: Definition | None = None
    draft: Definition | None = None
    base: Pool | None = None
    options: pb.FunctionOptions = field(default_factory=pb.FunctionOptions)
    parameters: bytes = b""
    overrides: pb.AutoscalerSettings = field(default_factory=pb.AutoscalerSettings)
    queue: deque[Input] = field(default_factory=deque)
    containers: list[Container] = field(default_factory=list)
    notifier: Notifier = field(default_factory=Notifier)
    crashes_in_a_row: int = 0
    not_before: float = 0.0


@dataclass(eq=False)
class Input:
    """One call of a Function. (A Modal call can hold many inputs; only `.map` makes such.)"""

    id: str
    call_id: str
    pool: Pool
    message: pb.FunctionInput
    invocation: pb.FunctionCallInvocationType.ValueType
    attempt: int = 0
    failures: int = 0
    holders: list[Container] = field(default_factory=list)
    is_cancelled: bool = False
    answering: bool = False
    is_forgotten: bool = False
    output: pb.FunctionGetOutputsItem | None = None
    done_event: asyncio.Event = field(default_factory=asyncio.Event)
    chunks_out: Chunks = field(default_factory=Chunks)
    chunks_in: Chunks = field(default_factory=Chunks)
    created_at: float = field(default_factory=time.time)

    @property
    def status(self) -> str:
        if self.output:
            name: str = pb.GenericResult.GenericStatus.Name(self.output.result.status)
            return name.removeprefix("GENERIC_STATUS_")
        return "RUNNING" if self.holders else "PENDING"


@dataclass(eq=False)
class Container:
    id: str
    pool: Pool
    function: pb.Function
    app_version: int
    folder: Path
    process: asyncio.subprocess.Process | None = None
    inputs: dict[str, Input] = field(default_factory=dict)
    cancels: list[str] = field(default_factory=list)
    cancel_notifier: Notifier = field(default_factory=Notifier)
    result: pb.GenericResult | None = None
    leaving: str = ""
    ready: bool = False
    has_exited: bool = False
    enqueued_at: float = field(default_factory=time.time)
    idle_since: float = field(default_factory=time.monotonic)

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.returncode is None
